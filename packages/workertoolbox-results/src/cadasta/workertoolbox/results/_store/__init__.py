"""Typed queries on the database."""
