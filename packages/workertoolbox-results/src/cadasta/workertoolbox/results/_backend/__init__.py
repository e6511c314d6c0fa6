"""The parts of the result backend: results, groups and chords."""
