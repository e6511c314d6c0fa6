"""Fleets that run the same tasks while one part of what they need fails."""
