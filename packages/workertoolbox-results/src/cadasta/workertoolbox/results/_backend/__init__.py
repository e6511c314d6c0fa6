"""The parts of the result backend: states, starts, chords, groups, reading."""
