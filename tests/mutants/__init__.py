"""Mutants of the modules that decide, which the unit tests must notice."""
