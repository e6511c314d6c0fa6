"""What users may change: states of errors, and reruns."""
