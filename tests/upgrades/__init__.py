"""The upgrade of a fleet at work, from a database of the last release."""
