"""Searches for tasks in URLs, their completion, and their results as CSV."""
