"""The database: connections, tables, schema, privileges, the view for people."""
