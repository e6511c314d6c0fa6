"""Real servers for the tests, each on free loopback ports of its own."""
