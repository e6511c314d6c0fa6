"""Groups of errors."""
