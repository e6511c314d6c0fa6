"""Read, render and check settings."""
