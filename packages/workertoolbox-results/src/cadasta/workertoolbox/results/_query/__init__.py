"""The query language: texts such as `name:export.* status:failure`, as values."""
