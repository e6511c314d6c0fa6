"""What has to hold before a package is released: `hatch run release PACKAGE`."""
