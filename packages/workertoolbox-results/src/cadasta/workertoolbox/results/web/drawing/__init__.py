"""Charts, time lines and bars, as values and SVG that templates show."""
