"""The database: connections, statements, tables, the view, privileges and upgrades."""
