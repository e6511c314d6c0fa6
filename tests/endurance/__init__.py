"""A fleet at full load while retention deletes what it has stored, and its bounds."""
