"""The history of ended tasks: archiver, retention, purge, erasure and cleanup."""
