"""What streaming keeps: publications that must not get lost between a commit and the broker."""

from __future__ import annotations

from django.db import models


class OutboxEntry(models.Model):
    """A publication, written in the transaction of the fact that it reports, and deleted once the broker has it."""

    id = models.BigAutoField(primary_key=True)
    topic = models.CharField(max_length=99)
    kind = models.CharField(max_length=8)
    key = models.CharField(max_length=200, null=True)  # noqa: DJ001 - a log has no key, which is not an empty one
    body = models.BinaryField()
    idempotency_key = models.CharField(max_length=160)
    created_at = models.DateTimeField(db_index=True)

    class Meta:
        verbose_name_plural = "outbox entries"
        ordering = ("id",)

    def __str__(self) -> str:
        return f"{self.topic} #{self.pk}"
