"""Preparation of task arguments for storage: redaction, truncation, valid JSON."""
