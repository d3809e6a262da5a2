"""Whose things at vendors are: the id of each answer, file or batch that a vendor keeps, with the organization that had it made.

All organizations share a vendor's key, so the vendor would give anybody what another left there; this table does not.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar
from urllib.parse import unquote

import sqlalchemy as sa

from .keys import KeyStore

_T = TypeVar("_T")
_metadata = sa.MetaData()
_kept = sa.Table(
    "llmdispatcher_kept_ids",
    _metadata,
    sa.Column("hash", sa.String(64), primary_key=True),
    sa.Column("organization", sa.String(255), nullable=False),
    sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
)
REFERENCES = frozenset(
    {
        *("previous_response_id", "conversation", "container", "prompt", "cachedContent", "cached_content"),
        *("file_id", "file_ids", "fileId", "fileIds", "fileUri", "file_uri", "input_file_id", "training_file", "validation_file"),
        *("vector_store_ids", "fileSearchStoreNames", "file_search_store_names"),
    }
)
"""Fields whose values name what a vendor keeps, as a text, a list of texts, or an object with an ``id``."""
ARGUMENTS = frozenset(("input", "arguments", "args", "parameters", "input_schema", "properties", "response"))
"""Fields whose contents are a model's or a tool's, and are not looked into, where they are objects."""

_ADDRESSES = frozenset(("url", "image_url", "imageUrl", "file_url", "fileUrl"))
"""Fields whose values may be the address of a file that Google keeps."""
_GOOGLE = re.compile(r"(?<![a-z0-9-])googleapis\.com(?![a-z0-9-])")
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*:")
_AUTHORITY = re.compile(r"/*([^/?#]*)")
_END_OF_PATH = re.compile(r"[?#]")
_MOST_QUOTED = 4


class KeptIds:
    """The table, in the database of the keys; ids are kept as their SHA-256."""

    def __init__(self, store: KeyStore) -> None:
        self._store = store
        self._made = False

    def add(self, organization: str, ids: Iterable[str]) -> None:
        """Note that these are an organization's; one that is another's already stays that."""
        hashes = {_hash(one) for one in ids}
        if not hashes:
            return

        def note(connection: sa.Connection) -> None:
            fresh = hashes - set(connection.scalars(sa.select(_kept.c.hash).where(_kept.c.hash.in_(hashes))))
            now = self._store.clock.now()
            if fresh:
                rows = [{"hash": one, "organization": organization, "created_at": now} for one in sorted(fresh)]
                connection.execute(sa.insert(_kept), rows)

        self._in_table(note)

    def are_of(self, organization: str, ids: Iterable[str]) -> bool:
        """Whether all of these are the organization's."""
        hashes = {_hash(one) for one in ids}
        if not hashes:
            return True
        mine = sa.select(sa.func.count()).where(_kept.c.hash.in_(hashes), _kept.c.organization == organization)

        return self._in_table(lambda connection: bool(connection.scalar(mine) == len(hashes)))

    def _in_table(self, work: Callable[[sa.Connection], _T]) -> _T:
        """Do work in a transaction, and make the table before the first; it is there when that transaction has ended well."""

        def run(connection: sa.Connection) -> _T:
            if not self._made:
                _metadata.create_all(connection)
            return work(connection)

        found = self._store.database.write(run)
        self._made = True
        return found


def _hash(value: str) -> str:
    return hashlib.sha256(value.encode("utf-8", "surrogatepass")).hexdigest()


def references_in(value: Any) -> set[str]:
    """The ids that a document names of what a vendor keeps."""
    return {one for _field, ids in _references(value) for one in ids}


def field_of_reference(value: Any) -> str | None:
    """The field by which a document names what a vendor keeps."""
    return next((field for field, ids in _references(value) if ids), None)


def _references(value: Any) -> Iterator[tuple[str, set[str]]]:
    """Fields that may name what a vendor keeps, and the ids in each."""
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, list):
            waiting += one
        elif isinstance(one, Mapping):
            if one.get("type") == "item_reference" and isinstance(one.get("id"), str):
                yield "item_reference", {one["id"]}
            for name, inner in one.items():
                if name in REFERENCES and not (isinstance(inner, str) and _is_no_id(str(name), inner)):
                    yield name, _ids(inner)
                if name in _ADDRESSES and isinstance(inner, str) and is_googles_file(inner):
                    yield name, {inner}
                if not (name in ARGUMENTS and isinstance(inner, Mapping)):
                    waiting.append(inner)


def _is_no_id(name: str, value: str) -> bool:
    """Whether a text is no id although its field may have one: a prompt of words, an address that is no vendor's."""
    return name == "prompt" or (name in ("fileUri", "file_uri") and "googleapis.com/" not in value and not is_googles(value))


def is_googles(url: str) -> bool:
    """Whether an address is one of Google's, or of a file without a host, however it is written."""
    host, path = _host_and_path(url)
    return _GOOGLE.search(host) is not None or (not host and _is_file(path))


def is_googles_file(url: str) -> bool:
    """Whether an address is that of a file that Google keeps, however it is written."""
    host, path = _host_and_path(url)
    return _GOOGLE.search(host) is not None and _is_file(path, 2 if host.rpartition("@")[2].startswith("storage.") else 3)


def _is_file(path: list[str], within: int = 3) -> bool:
    return "files" in path[:-1][:within]


def _host_and_path(url: str) -> tuple[str, list[str]]:
    """The host of an address with what may stand beside it, and the steps of its path, as lenient readers understand them."""
    if url[:5].lower() == "data:":
        return "", []
    for _ in range(_MOST_QUOTED):
        if "%" not in url or (plain := unquote(url)) == url:
            break
        url = plain
    if not url.isascii():
        url = unicodedata.normalize("NFKC", url).replace("\u3002", ".")
    url = "".join([letter for letter in url if letter.isprintable() and not letter.isspace()]).replace("\\", "/").lower()
    scheme = _SCHEME.match(url)
    if scheme is not None and scheme.group() == "gs:":
        return "", []
    found = _AUTHORITY.match(url, scheme.end() if scheme is not None else 0) if scheme is not None or url[:2] == "//" else None
    steps: list[str] = []
    for step in _END_OF_PATH.split(url[found.end() :] if found is not None else url, maxsplit=1)[0].split("/"):
        plain = step.partition(";")[0]
        if plain == "..":
            del steps[-1:]
        elif plain not in ("", "."):
            steps.append(plain)
    return found.group(1) if found is not None else "", steps


def _ids(value: Any) -> set[str]:
    """The ids that one field names."""
    if isinstance(value, str):
        return {value} if value else set()
    if isinstance(value, list):
        return {one for one in value if isinstance(one, str)}
    inner = value.get("id") if isinstance(value, Mapping) else None
    return {inner} if isinstance(inner, str) else set()


def made_in(document: Any) -> set[str]:
    """The ids of what a vendor says that it keeps now: of the answer itself, its container, and the files that a batch wrote."""
    if not isinstance(document, Mapping):
        return set()
    found = {value for name, value in document.items() if isinstance(value, str) and value and _tells(str(name))}
    for name in ("container", "conversation", "file"):
        inner = document.get(name)
        if isinstance(inner, Mapping):
            found |= {value for value in (inner.get("id"), inner.get("uri"), inner.get("name")) if isinstance(value, str)}
    return found


def _tells(name: str) -> bool:
    return name in ("id", "uri") or name.endswith(("file_id", "_response_id"))
