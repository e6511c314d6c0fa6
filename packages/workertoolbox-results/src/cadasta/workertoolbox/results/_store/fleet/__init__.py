"""Services and workers."""
