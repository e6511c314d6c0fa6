"""What is old or ended: the watermark, retention, purge and erasure."""
