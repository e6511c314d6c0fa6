"""Models of the toolbox in Promela, which Spin checks."""
