"""The upgrade of a running fleet, from a database of the last release."""
