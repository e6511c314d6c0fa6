"""The first files of a service, which `celery tasks init` writes."""
