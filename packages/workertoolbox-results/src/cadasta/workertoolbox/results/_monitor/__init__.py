"""The monitor: from a message to a record, a batch, and the tables of tasks."""
