"""The model by which the admin knows usage. It has no table: the figures come from the dispatcher's ledger."""

from __future__ import annotations

from django.db import models


class LedgerUsage(models.Model):
    """What was used and what it cost. Who may look at it has the permission ``llmdispatcher.view_ledgerusage``."""

    id = models.IntegerField(primary_key=True)

    class Meta:
        """No table, and no permission to write."""

        managed = False
        app_label = "llmdispatcher"
        default_permissions = ("view",)
        verbose_name = "usage"
        verbose_name_plural = "usage"
