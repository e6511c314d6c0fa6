"""Where settings come from: variables, the environment, templates, checks."""
