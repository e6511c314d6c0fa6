"""Tasks and groups of errors as models that Django only reads."""

from __future__ import annotations

from typing import Any, Self

from django.db import models


class _Read(models.Model):
    """A row that Django neither creates nor migrates."""

    class Meta:
        abstract = True
        managed = False
        default_permissions = ("view",)

    @classmethod
    def of(cls, found: Any) -> Self:
        """Return the model of what `TaskStore` has found."""
        names = [field.attname for field in cls._meta.concrete_fields]
        return cls(**{name: getattr(found, name) for name in names})


class Task(_Read):
    """A row of the view `workertoolbox_tasks`."""

    id = models.TextField(primary_key=True)
    name = models.TextField(null=True)
    status = models.TextField()
    queue = models.TextField(null=True)
    scheduled_at = models.DateTimeField("scheduled", null=True)
    eta = models.DateTimeField("ETA", null=True)
    started_at = models.DateTimeField("started", null=True)
    finished_at = models.DateTimeField("finished", null=True)
    worker = models.TextField(null=True)
    retries = models.IntegerField(null=True)
    args = models.JSONField("arguments", null=True)
    kwargs = models.JSONField("keyword arguments", null=True)
    result = models.JSONField(null=True)
    traceback = models.TextField(null=True)
    root_id = models.TextField("root", null=True)
    parent_id = models.TextField("parent", null=True)
    group_id = models.TextField("group", null=True)
    service = models.TextField(null=True)
    schedule = models.TextField(null=True)
    headers = models.JSONField(null=True)
    rerun_of = models.TextField("rerun of", null=True)

    class Meta(_Read.Meta):
        db_table = "workertoolbox_tasks"

    def __str__(self) -> str:
        return f"{self.name} {self.id}"


class ErrorGroup(_Read):
    """A row of the table `workertoolbox_error_group`."""

    id = models.TextField(primary_key=True)
    state = models.TextField()
    type = models.TextField(null=True)
    place = models.TextField(null=True)
    name = models.TextField("first task", null=True)
    sample = models.TextField("latest error", null=True)
    count = models.BigIntegerField()
    retries = models.BigIntegerField("followed by a retry")
    first_at = models.DateTimeField("first")
    last_at = models.DateTimeField("latest")
    first_task_id = models.TextField(null=True)
    last_task_id = models.TextField(null=True)
    resolved_at = models.DateTimeField("resolved", null=True)

    class Meta(_Read.Meta):
        db_table = "workertoolbox_error_group"

    def __str__(self) -> str:
        return str(self.sample or self.id)
