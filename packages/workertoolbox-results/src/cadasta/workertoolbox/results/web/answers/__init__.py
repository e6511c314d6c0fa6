"""Questions that one thread asks the database for all viewers."""
