"""A service that adds up orders and sends invoices."""
