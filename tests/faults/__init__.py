"""A real fleet under faults at random moments, and what has to hold after them."""
