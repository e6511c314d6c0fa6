"""The toolbox against a plain model of it, in random steps."""
