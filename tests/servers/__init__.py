"""Servers for the tests, each on free ports of the loopback interface."""
