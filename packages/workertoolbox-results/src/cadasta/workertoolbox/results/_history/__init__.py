"""Old tasks and results: watermarks, retention, purge, erasure and cleanup."""
