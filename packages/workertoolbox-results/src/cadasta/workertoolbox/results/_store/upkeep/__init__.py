"""The state of the database and of the processes that write to it."""
