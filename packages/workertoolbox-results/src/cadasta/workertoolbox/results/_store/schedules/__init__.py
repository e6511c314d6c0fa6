"""The entries of beat's schedule."""
