"""Searches for tasks."""
