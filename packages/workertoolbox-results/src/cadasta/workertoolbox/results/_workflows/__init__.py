"""Workflows: the steps that a message says are still to come."""
