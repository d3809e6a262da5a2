"""The model by which the admin knows usage. It has no table: the figures come from the dispatcher's ledger."""

from __future__ import annotations

from django.db import models


class NoRows(models.Manager):
    """There are none, for ``dumpdata`` and whoever else asks: the table does not exist."""

    def get_queryset(self) -> models.QuerySet:
        """Return nothing, without a query."""
        return super().get_queryset().none()


class LedgerUsage(models.Model):
    """What was used and what it cost. Who may look at it has the permission ``llmdispatcher.view_ledgerusage``."""

    id = models.IntegerField(primary_key=True)
    objects = NoRows()

    class Meta:
        """No table, and no permission to write."""

        managed = False
        base_manager_name = "objects"
        app_label = "llmdispatcher"
        default_permissions = ("view",)
        verbose_name = "usage"
        verbose_name_plural = "usage"
