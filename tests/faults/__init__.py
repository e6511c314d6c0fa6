"""A fleet of real processes under random faults, and a check of what it has stored."""
