"""Log lines with the ids of the task, and errors for Sentry."""
