"""The fixtures of the toolbox, for all tests of the service."""

pytest_plugins = ["cadasta.workertoolbox.conf.testing"]
