"""What the demo is made of, beside the service that it shows."""
