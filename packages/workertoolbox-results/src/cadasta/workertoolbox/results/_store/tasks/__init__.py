"""One task or one workflow."""
