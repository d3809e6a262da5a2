"""The first look at a request that came in: an object, and fields of the right kind."""

from __future__ import annotations

from typing import Any

from ..errors import InvalidRequest
from ..json_text import parse_text


def object_in(body: bytes, wanted: str) -> dict[str, Any]:
    """The JSON object in a body; ``wanted`` names the fields that one has. Raises :class:`InvalidRequest`."""
    try:
        document = parse_text(body.decode("utf-8", "replace").removeprefix("\ufeff"))
    except ValueError:
        raise InvalidRequest(f"body: this is not JSON; send a JSON object with {wanted}") from None
    if not isinstance(document, dict):
        raise InvalidRequest(f"body: this is no object; send a JSON object with {wanted}")
    return document


def popped(fields: dict[str, Any], name: str, kind: type, default: Any) -> Any:
    """A field taken out of the others. Raises :class:`InvalidRequest` for one of another kind."""
    value = fields.pop(name, default)
    if value is not default and not isinstance(value, kind):
        raise InvalidRequest(f"{name}: {type(value).__name__} is not allowed here; give a {kind.__name__}")
    return value
