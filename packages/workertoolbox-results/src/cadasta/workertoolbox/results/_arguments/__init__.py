"""The arguments of tasks, as they are stored: redacted, truncated, valid JSON."""
