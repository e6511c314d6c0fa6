"""A service that sums up orders and sends invoices."""
