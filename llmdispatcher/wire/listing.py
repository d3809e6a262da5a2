"""Which models a vendor has.

https://platform.openai.com/docs/api-reference/models/list, https://platform.claude.com/docs/en/api/models-list,
https://ai.google.dev/api/models, https://docs.ollama.com/api/tags
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import attrs

from ..errors import MalformedReply
from .faults import fault_inside
from .payload import mapping, parse, text_of


@attrs.frozen(kw_only=True)
class Listing:
    """Where a vendor lists its models, and how to ask for the page after one."""

    path: str
    field: str = "data"
    following: tuple[str, str] | None = None
    """The field of an answer that names the next page, and the parameter that asks for it."""

    def decode(self, body: bytes) -> tuple[str, ...]:
        """The names on a page. Raises :class:`MalformedReply`, or what an error inside a 200 stands for."""
        document = parse(body)
        if isinstance(document, dict) and document.get("error"):
            raise fault_inside(document)
        found = document if isinstance(document, list) else mapping(document).get(self.field)
        if found is None and _name(document):  # a model by itself
            found = [document]
        if not isinstance(found, list):
            raise MalformedReply("the vendor's answer has no list of models", sent=True)
        return tuple([name for entry in found if (name := _name(entry))])

    def next(self, body: bytes) -> str | None:
        """The path of the page after one; ``None`` after the last."""
        document = mapping(parse(body))
        if self.following is None or document.get("has_more") is False:
            return None
        mark = text_of(document.get(self.following[0]))
        return f"{self.path}{'&' if '?' in self.path else '?'}{self.following[1]}={quote(mark, safe='')}" if mark else None


def _name(entry: Any) -> str:
    fields = mapping(entry)
    return text_of(fields.get("id")) or text_of(fields.get("name")) or text_of(fields.get("model"))


LISTINGS: Mapping[str, Listing] = {
    "openai_chat": Listing(path="/models"),
    "openai_responses": Listing(path="/models"),
    "anthropic_messages": Listing(path="/v1/models?limit=1000", following=("last_id", "after_id")),
    "gemini": Listing(path="/models?pageSize=1000", field="models", following=("nextPageToken", "pageToken")),
    "ollama_chat": Listing(path="/api/tags", field="models"),
}
"""By the format of a vendor."""
