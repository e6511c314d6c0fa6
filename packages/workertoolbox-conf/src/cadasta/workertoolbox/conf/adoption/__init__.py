"""What an app with a configuration of its own needs to be tracked."""
