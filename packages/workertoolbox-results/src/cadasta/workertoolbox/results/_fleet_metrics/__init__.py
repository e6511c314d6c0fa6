"""Metrics for Prometheus about the fleet, which every monitor shows the same."""
