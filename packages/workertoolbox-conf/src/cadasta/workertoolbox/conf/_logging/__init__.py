"""Write the ids of the task on log lines, and send errors to Sentry."""
