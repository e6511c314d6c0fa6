"""A Celery service with two queues that exports a folder as a zip with a manifest.

celery -A export_service --workdir examples/export worker
"""
