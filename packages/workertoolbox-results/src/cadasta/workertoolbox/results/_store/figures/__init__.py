"""Counts, durations and backlogs."""
