"""The demo of the export service."""
