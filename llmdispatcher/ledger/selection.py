"""Which calls are meant: by who asked, who answered and how it went; as conditions on the rows, and on their sums by day."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypedDict

import attrs
from sqlalchemy import Column, ColumnElement, and_, func, literal_column, or_

from ..errors import InvalidRequest
from .schema import DAILY_KEY, STATUSES, calls, daily

_NONE: ColumnElement[str] = literal_column("''")  # no parameter: PostgreSQL takes two of them for two expressions to group by


class Filters(TypedDict, total=False):
    """The fields of a :class:`Selection`, as keywords."""

    origin: str | None
    id_at_origin: str | None
    user: str | None
    alias: str | None
    profile: str | None
    vendor: str | None
    model: str | None
    status: str | None


@attrs.frozen(kw_only=True)
class Selection:
    """Calls that have all of these facts; ``None`` is any, ``""`` is none. ``model`` may pin the vendor, ``openai:gpt-4o``.

    Raises :class:`~llmdispatcher.errors.InvalidRequest` for a status that no call has, and for what is no text.
    """

    origin: str | None = None
    id_at_origin: str | None = None
    user: str | None = None
    alias: str | None = None
    profile: str | None = None
    vendor: str | None = None
    model: str | None = None
    status: str | None = None

    def __attrs_post_init__(self) -> None:
        for name, value in attrs.asdict(self).items():
            if value is not None and not isinstance(value, str):
                raise InvalidRequest(f"{name}: {value!r} is no text; give the text that the calls have, or None for any")
        if self.status is not None and self.status not in STATUSES:
            raise InvalidRequest(f"status: {self.status!r} is none; give one of {', '.join(STATUSES)}")

    @property
    def beyond_days(self) -> bool:
        """Whether the sums by day cannot tell these calls from others."""
        return any(getattr(self, name) is not None for name in ("id_at_origin", "profile", "status"))

    def of_calls(self) -> list[ColumnElement[bool]]:
        """As conditions on the rows of ``calls``."""
        return [_matches(calls.c, name, value) for name, value in attrs.asdict(self).items() if value is not None]

    def of_days(self) -> list[ColumnElement[bool]]:
        """As conditions on the rows of ``daily``; only for what is not :attr:`beyond_days`."""
        asked = {name: getattr(self, name) for name in DAILY_KEY[1:]}
        return [_matches(daily.c, name, value) for name, value in asked.items() if value is not None]


def selection_of(asked: Mapping[str, Any]) -> Selection:
    """The part of a question that says which calls are meant."""
    return Selection(**{name: asked[name] for name in Filters.__annotations__ if name in asked})


def told(column: Column[Any]) -> ColumnElement[str]:
    """A text of a call as the sums by day write it: '' for none."""
    return func.coalesce(column, _NONE)


def _matches(columns: Any, name: str, value: str) -> ColumnElement[bool]:
    column = columns[name]
    if value == "":
        return told(column) == ""
    vendor, _, model = value.partition(":")
    if name != "model" or not model:
        return column == value  # type: ignore[no-any-return]  # a column of a table that is looked up by name
    return or_(column == value, and_(columns.vendor == vendor, column == model))
