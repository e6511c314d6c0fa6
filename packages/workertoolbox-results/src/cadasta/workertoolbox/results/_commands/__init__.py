"""The commands of `celery -A proj tasks`, one module for each."""
