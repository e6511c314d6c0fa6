"""The parts of the result backend: reading and writing results, groups, chords."""
