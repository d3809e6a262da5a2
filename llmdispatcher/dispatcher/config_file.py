"""A configuration file: the fields of a Config, and ``[vendors.NAME]`` tables with the fields of a VendorConfig and a ``kind``."""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Self, TypeVar

import attrs

from ..catalog import canonical, vendor_row, vendor_rows
from ..errors import ConfigError
from ..types import Secret, build, choices
from ..vendors import HttpVendor, vendor
from .config import Config

T = TypeVar("T")
_VARIABLE = re.compile(r"\$(?:\$|\{([^}]*)(\}?))")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SHELL = re.compile(r"\$[A-Z_][A-Z0-9_]*")
GATEWAY = ("passthrough", "stateful", "cache_marks", "server")
"""Names in a file that the library leaves to the gateway, which checks them."""
_REMEDIES = (
    ("use None for no limit", "write inf for no limit"),
    ("or None for no", "or leave it out for no"),
    (", or None", ", or leave it out"),
)
_DEPTH = 32
"""Tables and lists within each other; a configuration has about five."""
_KEYS = frozenset(["vendors", *[field.name for field in attrs.fields(Config)]])


@attrs.frozen
class ConfigFile:
    """The content of a file, not yet checked. The ``repr`` of a text with variables is what stands in the file."""

    path: Path | None = None
    fields: Mapping[str, Any] = attrs.field(factory=dict, repr=False)
    vendors: Mapping[str, Any] = attrs.field(factory=dict, repr=False)
    gateway: Mapping[str, Any] = attrs.field(factory=dict, repr=False)
    """What the gateway alone reads; see :data:`GATEWAY`."""
    _unread: tuple[str, ...] = ()
    """The mistakes of its values before they are fields: variables that are not set, and the like, each with its place."""

    @property
    def vendor_names(self) -> dict[str, str]:
        """The names by which vendors are registered, by those of their tables."""
        return {key: str(table.get("name", key)) if isinstance(table, dict) else key for key, table in self.vendors.items()}

    def config(self, **more: Any) -> Config:
        """Make the configuration; *more* overrides fields. Raises :class:`ConfigError` with the path of the first mistake."""
        try:
            return _make(lambda fields: build(Config, fields, "config"), {**self.fields, **more})
        except TypeError as error:
            raise ConfigError(f"config: {error}") from None

    def make_vendors(self) -> list[HttpVendor]:
        """Make the vendors. Raises :class:`ConfigError`, also for two that have one name."""
        made = {name: _vendor(name, table) for name, table in self.vendors.items()}
        tables: dict[str, str] = {}
        for name, one in made.items():
            first = tables.setdefault(canonical(one.name), name)
            if first != name:
                raise ConfigError(f"vendors.{name}: [vendors.{first}] has this name too; give one of them another")
        return list(made.values())

    def mistakes(self) -> list[str]:
        """Return every mistake of the fields and the vendors, with its path."""
        places = {text.partition(": ")[0] for text in self._unread}
        found = [text for name, value in self.fields.items() for text in mistakes_of(partial(_config, name), value)]
        found += [text for name, table in self.vendors.items() for text in mistakes_of(partial(_vendor, name), table)]
        found = [*self._unread, *(text for text in found if text.partition(": ")[0].removeprefix("config.") not in places)]
        if not found:  # two fields, or two vendors, may be wrong together
            found = [text for make in (self.config, self.make_vendors) if (text := _mistake(make)) is not None]
        return found

    def valid_parts(self) -> Iterator[tuple[Self, int | None]]:
        """Yield all fields and vendors without a mistake, then each valid item of a list that has mistakes, with its number."""
        right = {name: value for name, value in self.fields.items() if _mistake(partial(_config, name, value)) is None}
        vendors = {name: table for name, table in self.vendors.items() if _mistake(partial(_vendor, name, table)) is None}
        whole = attrs.evolve(self, fields=right, vendors=vendors)
        if _mistake(whole.config) is None:
            yield whole, None
        for name, value in self.fields.items():
            for number, item in enumerate(value) if isinstance(value, list) and name not in right else ():
                if _mistake(partial(_config, name, [item])) is None:
                    yield attrs.evolve(self, fields={name: [item]}, vendors={}), number


def read_config_file(
    path: str | os.PathLike[str] | None, *, lenient: bool = False, only: Collection[str] | None = None
) -> ConfigFile:
    """Read a file, TOML unless its name ends in .json; without a path the content is empty.

    ``${NAME}`` in a text is the variable NAME of the environment, ``$$`` a dollar sign; keys have no variables. Raises
    :class:`ConfigError` for a file that cannot be read, and for variables that are not set; their values are in no error. With
    ``lenient`` such variables stay as they are written, and are among the :meth:`~ConfigFile.mistakes`. ``only`` names the fields
    that are read, and ``"vendors"``: what the others need, such as the variables of keys, need not be there.
    """
    if path is None:
        return ConfigFile()
    path = Path(path)
    is_json = path.suffix.lower() == ".json"
    try:
        text = path.read_text(encoding="utf-8-sig")
        found = json.loads(text, object_pairs_hook=_table) if is_json else tomllib.loads(text)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8: {error.reason} at byte {error.start}; save it as UTF-8") from None
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: not {'JSON' if is_json else 'TOML'}: {error}") from None
    if not isinstance(found, dict):
        raise ConfigError(f"{path}: {type(found).__name__} is not a configuration; give a table of the fields of Config")
    if isinstance(found.get("vendor"), dict):
        raise ConfigError(f"{path}: vendor: unknown table; write [vendors.NAME]")
    mistakes: list[str] = []
    if only is not None:
        found = {name: value for name, value in found.items() if name in only or name not in _KEYS}
    found = _expanded(found, (), mistakes)
    if mistakes and not lenient:
        raise ConfigError(f"{path}: {'; '.join(mistakes)}")
    vendors = found.pop("vendors", {})
    if not isinstance(vendors, dict):
        raise ConfigError(f"{path}: vendors: {type(vendors).__name__} is not a table; write [vendors.NAME]")
    gateway = {name: found.pop(name) for name in GATEWAY if name in found}
    return ConfigFile(path, found, vendors, gateway, tuple(mistakes))


def _table(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A table of JSON, which has no rule for a key that stands twice."""
    table = dict(pairs)
    if len(table) < len(pairs):
        names = [name for name, _value in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {twice!r} stands twice in a table")
    return table


def _expanded(value: Any, place: tuple[str, ...], mistakes: list[str]) -> Any:
    """A value with its variables replaced; ``mistakes`` takes a sentence for each that cannot be, with its place in the file."""
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        mistakes.append(f"{_path(place)}: the number has more than 64 bits; write a smaller one")
    if len(place) > _DEPTH and isinstance(value, dict | list):
        mistakes.append(f"{_path(place[:3])}: more than {_DEPTH} tables and lists within each other; no setting has as many")
        return None
    if isinstance(value, dict):
        mistakes.extend(
            f"{_path((*place, repr(key)))}: variables are read in values, and not in keys; write the key itself"
            for key in value
            if "${" in key
        )
        return {key: _expanded(part, (*place, key), mistakes) for key, part in value.items()}
    if isinstance(value, list):
        return [_expanded(part, (*place, f"[{number}]"), mistakes) for number, part in enumerate(value)]
    return _expanded_text(value, _path(place), mistakes) if isinstance(value, str) else value


def _expanded_text(text: str, place: str, mistakes: list[str]) -> str:
    def variable(match: re.Match[str]) -> str:
        name = match[1]
        if name is None:
            return "$"
        if not match[2]:
            mistakes.append(f"{place}: ${{ has no }} behind it; close it, or write $$ for a dollar sign")
        elif not _NAME.fullmatch(name):
            mistakes.append(f"{place}: ${{{name}}} is no variable's name; write $$ for a dollar sign")
        elif name not in os.environ:
            mistakes.append(f"{place}: the variable {name} is not set; set it, or write the value itself")
        return os.environ.get(name, "")

    before = len(mistakes)
    if _SHELL.fullmatch(text):
        mistakes.append(f"{place}: a variable is written ${{NAME}}; write $$ for a dollar sign")
    expanded = Secret(_VARIABLE.sub(variable, text), shown=text)
    return text if len(mistakes) > before or expanded == text else expanded


def _path(place: tuple[str, ...]) -> str:
    return ".".join(place).replace(".[", "[")


def _make(make: Callable[[Any], T], value: Any) -> T:
    """Make something of the plain texts. An error shows what stands in the file, since a variable may hold a key."""
    with suppress(ConfigError, TypeError):
        return make(_plain(value))
    try:
        return make(value)
    except ConfigError as error:
        raise ConfigError(_as_in_files(error.message)) from None


def _as_in_files(text: str) -> str:
    """The text of a mistake with the remedy for a file, since neither TOML nor a user of it has ``None``."""
    for python, remedy in _REMEDIES:
        text = text.replace(python, remedy)
    return text


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_plain(part) for part in value]
    return str(value) if isinstance(value, Secret) else value


def _vendor(name: str, table: Any) -> HttpVendor:
    if not isinstance(table, dict):
        raise ConfigError(f"vendors.{name}: {type(table).__name__} is not a table; write [vendors.{name}]")
    fields = dict(table)
    kind = fields.pop("kind", name)
    if not isinstance(kind, str) or vendor_row(kind) is None:
        hint = choices(kind, [row.name for row in vendor_rows()], "use {}")
        raise ConfigError(f"vendors.{name}.kind: {kind!r} is not in the catalog; {hint}")
    try:
        return _make(partial(vendor, kind), {"name": name, **fields})
    except ConfigError as error:
        text = error.message.removeprefix("vendor")  # its own name for the table
        raise ConfigError(f"vendors.{name}{text if text.startswith(('.', ': ')) else f'.{error.message}'}") from None


def _config(name: str, value: Any) -> Config:
    return ConfigFile(fields={name: value}).config()


def mistakes_of(make: Callable[[Any], Any], value: Any) -> list[str]:
    """Every mistake that ``make`` finds: each item of a list is checked alone, and a table again without the key that is wrong."""
    if isinstance(value, list) and len(value) > 1:
        by_item = [(number, text) for number, item in enumerate(value) for text in mistakes_of(make, [item])]
        if by_item:
            return [text.replace("[0]", f"[{number}]", 1) for number, text in by_item]
    text = _mistake(partial(make, value))
    if text is None:
        return []
    table = value[0] if isinstance(value, list) and value else value
    wrong = next((key for key in table if _is_named(key, text)), None) if isinstance(table, dict) else None
    if wrong is None:
        return [text]
    rest = {key: part for key, part in table.items() if key != wrong}
    more = mistakes_of(make, [rest] if isinstance(value, list) else rest)
    return [text, *(one for one in more if " is missing; " not in one and not _is_named(wrong, one))]


def _is_named(key: Any, text: str) -> bool:
    """Whether the text of a mistake names this key."""
    return re.search(rf"(?:^|[.\s\]])(?:unknown key ')?{re.escape(str(key))}[:.\['\s]", text) is not None


def _mistake(build: Callable[[], Any]) -> str | None:
    try:
        build()
    except ConfigError as error:
        return error.message
    except TypeError as error:
        return f"config: {error}"
    return None
