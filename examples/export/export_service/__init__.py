"""Export a folder as one zip with a manifest: a Celery service in two queues.

celery -A export_service --workdir examples/export worker
"""
