"""Usage in Django's admin: sums of the ledger by day, model and user, to look at only.

Shown is one origin at a time, of those that :func:`allowed_origins` gives for the person. Without
``settings.LLMDISPATCHER_ORIGINS`` that is the project's own, ``Config(origin=...)``, or calls without one where it has none.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import Any
from zoneinfo import available_timezones

from django.conf import settings
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import path
from django.utils.module_loading import import_string
from django.utils.timezone import get_current_timezone_name

from llmdispatcher import ConfigError, DispatchError, UsageStats
from llmdispatcher.types import dollars_text

from . import get_dispatcher, get_ledger
from .models import LedgerUsage

ORIGINS_SETTING = "LLMDISPATCHER_ORIGINS"
DAYS = (1, 7, 30, 90, 365)
MOST_ROWS = 100
"""Rows of one table, those that cost most; all further ones are one row."""


def allowed_origins(request: HttpRequest) -> list[str]:
    """Return the origins whose usage a person may see, the first one first; ``""`` is for calls without one.

    ``settings.LLMDISPATCHER_ORIGINS`` is a list of them, or a function of the request that returns one, or its dotted name. Raises
    :class:`ConfigError` for a setting that is none of these.
    """
    setting: Any = getattr(settings, ORIGINS_SETTING, None)
    if setting is None:
        return [get_dispatcher().config.origin or ""]
    if isinstance(setting, str):
        try:
            setting = import_string(setting)
        except ImportError as error:
            raise ConfigError(f"{ORIGINS_SETTING}: {error}; give a list of origins, or the dotted name of a function") from None
    allowed = setting(request) if callable(setting) else setting
    if isinstance(allowed, str) or not isinstance(allowed, Iterable):
        raise ConfigError(
            f"{ORIGINS_SETTING}: {type(allowed).__name__} is no list of origins; give ['shop'], or a function of requests"
        )
    names = list(allowed)
    if not all(isinstance(name, str) for name in names):
        raise ConfigError(f"{ORIGINS_SETTING}: an origin is a text, '' for calls without one")
    return names


@admin.register(LedgerUsage)
class UsageAdmin(admin.ModelAdmin):
    """The page; nobody can add, change or delete anything."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Nobody has."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: object = None) -> bool:
        """Nobody has."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: object = None) -> bool:
        """Nobody has."""
        return False

    def get_urls(self) -> list[Any]:
        """There is one page, and none for a single object."""
        return [path("", self.admin_site.admin_view(self.changelist_view), name="llmdispatcher_ledgerusage_changelist")]

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """Show the sums; refused to whoever may not view them."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        context = {**self.admin_site.each_context(request), "title": "Usage", "opts": self.opts, **(extra_context or {})}
        try:
            context |= _figures(request)
        except DispatchError as error:
            context["problem"] = error.message
        return TemplateResponse(request, "llmdispatcher/usage.html", context)


TABLES = (("day", "By day", "Day"), ("model", "By model", "Model"), ("user", "By user", "User"))


def _figures(request: HttpRequest) -> dict[str, Any]:
    """What the page shows."""
    ledger = get_ledger()
    origins = allowed_origins(request)
    if not origins:
        raise ConfigError("there is no origin whose usage you may see")
    origin, days = request.GET.get("origin"), request.GET.get("days", "30")
    origin = origin if origin in origins else origins[0]
    zone = get_current_timezone_name()
    asked: dict[str, Any] = {"days": int(days) if days in map(str, DAYS) else 30}
    asked["timezone"] = zone if zone in available_timezones() else "UTC"
    ledger.flush(1.0)
    by_day = ledger.get_usage_stats(origin, group_by="day", **asked)
    stats = {"day": by_day, **{by: ledger.get_usage_stats(origin, by=by, **asked) for by in ("model", "user")}}
    tables = [{"key": key, "title": title, "head": head, "rows": _rows(key, stats[key])} for key, title, head in TABLES]
    return {
        "origins": origins,
        "origin": origin,
        "spans": DAYS,
        "days": asked["days"],
        "total": _row("", [by_day]),
        "unpriced": by_day.unpriced_calls,
        "complete": by_day.complete,
        "tables": tables,
    }


def _rows(key: str, stats: UsageStats) -> list[dict[str, Any]]:
    """The lines of a table: days from the latest, all others from the dearest."""
    if key == "day":
        return [_row(str(bucket.period), [bucket]) for bucket in reversed(stats.buckets) if bucket.total_calls]
    buckets = sorted(stats.buckets, key=lambda bucket: -bucket.total_cost)
    rows = [_row(str(bucket.value), [bucket]) for bucket in buckets[:MOST_ROWS]]
    rest = buckets[MOST_ROWS:]
    return [*rows, _row(f"{len(rest)} more", rest)] if rest else rows


def _row(name: str, figures: Iterable[Any]) -> dict[str, Any]:
    summed = list(figures)
    return {
        "name": name,
        "calls": sum(one.total_calls for one in summed),
        "errors": sum(one.total_calls - one.successful_calls for one in summed),
        "input_tokens": sum(one.input_tokens for one in summed),
        "output_tokens": sum(one.output_tokens for one in summed),
        "cost": dollars_text(sum((one.total_cost for one in summed), Decimal(0))),
    }
