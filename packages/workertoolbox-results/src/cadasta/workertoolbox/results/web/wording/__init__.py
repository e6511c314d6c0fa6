"""How pages say things: numbers, times, values, tracebacks and findings."""
