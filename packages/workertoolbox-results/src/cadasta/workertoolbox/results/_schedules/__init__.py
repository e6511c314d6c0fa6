"""Entries of beat's schedule: their runs, and what their schedules mean."""
