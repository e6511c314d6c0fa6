"""How tasks are read: rows, ids, days and values."""
