"""Typed queries over the database."""
