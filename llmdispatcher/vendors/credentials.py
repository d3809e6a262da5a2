"""Keys and addresses: from the configuration, from a function that hands out fresh tokens, or from the environment.

An address is a base URL without the path of a call; :func:`addresses` says where each model is asked below it.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Collection, Mapping

import attrs

from ..catalog import VendorRow, vendor_rows
from ..errors import AuthenticationError, ConfigError, DispatchError, QuotaExceeded, RateLimitError
from ..runtime import SYSTEM_CLOCK, Clock, KeyAssignment, from_environment, new_lock, variables
from ..types import Secret, base_url, closest_name, copy_self, name_in_path, refuse_pickling
from .config import VendorConfig, without_ends
from .secrets import Secrets, of_header

_REMEMBERED = 64
_RESTS: tuple[tuple[type[DispatchError], float], ...] = (
    (AuthenticationError, 86_400.0),
    (QuotaExceeded, 600.0),
    (RateLimitError, 10.0),
)
"""Seconds that one of several keys rests after a refusal, unless the vendor says how long."""
_LONGEST_HINT = 60.0
"""Seconds; a key does not rest for longer because a vendor says so, unless its refusal lasts by itself."""
_PLACES = re.compile(r"{(\w+)}")
_CARRIED = re.compile(r"[\x21-\x7e]{1,4096}")
"""What an HTTP header can carry as a key: printable ASCII without blanks, of a sane length."""

_CALLS = re.compile(
    r"(?:/chat/completions|/completions|/responses|/embeddings|/messages(?:/count_tokens)?|/api/(?:chat|generate|embed|tags)"
    r"|/(?:models|tunedModels)/[^/]+:[A-Za-z]+)$"
)
"""How the addresses of calls end, as consoles of vendors and gateways show them."""
_DEPLOYED = re.compile(r"/deployments(?:/[^/]+)?$")
_VERSION = re.compile(r"[0-9A-Za-z][0-9A-Za-z._-]{0,63}")


def check_key(key: str, field: str) -> str:
    """The key, if a header can carry it; the error shows no more than its last four characters."""
    if not isinstance(key, str) or not _CARRIED.fullmatch(key):
        if isinstance(key, str) and key.lower().startswith("bearer "):
            raise ConfigError(f"{field}: the key begins with 'Bearer'; leave that out, it is added")
        tail = key[-4:] if isinstance(key, str) and len(key) >= 12 and key[-4:].isprintable() else ""
        shown = repr(tail) if tail else "****"  # the end of a short key would be too much of it
        raise ConfigError(
            f"{field}: the key ending in {shown} has blanks, line ends or characters that are not ASCII, or is over 4,096 long;"
            " copy it again without what surrounds it"
        )
    if key[0] == key[-1] and key[0] in "'\"`":
        raise ConfigError(f"{field}: the key stands in quotes; leave them out, also in a file of variables")
    return key


class _KeyRing:
    """Several keys of one vendor, and which of them rest after a refusal. Moments are monotonic seconds."""

    def __init__(self, keys: tuple[str, ...]) -> None:
        self.keys = keys
        self._lock = new_lock()
        self._rests: dict[str, float] = {}

    def pick(self, now: float) -> str:
        """The first that does not rest, else the one whose rest ends first."""
        with self._lock:
            awake = next((key for key in self.keys if self._rests.get(key, now) <= now), None)
            return awake or min(self.keys, key=lambda key: self._rests[key])

    def rest(self, key: str, until: float) -> None:
        """Let a key rest."""
        with self._lock:
            self._rests[key] = max(until, self._rests.get(key, until))

    def awake(self, now: float) -> tuple[int, ...]:
        """The numbers of those that do not rest, counted from 1."""
        with self._lock:
            return tuple([number for number, key in enumerate(self.keys, 1) if self._rests.get(key, now) <= now])


@attrs.define(eq=False)
class Credentials:
    """What one vendor is reached with. The environment is read anew at each question, a function is asked for each key.

    Of several keys the first is used until the vendor refuses it, limits it, or says that its quota is spent; then it rests.
    """

    __copy__, __reduce__ = copy_self, refuse_pickling

    row: VendorRow
    config: VendorConfig = attrs.field(repr=False)
    clock: Clock = SYSTEM_CLOCK
    varies: bool = attrs.field(default=False, init=False, repr=False)
    """Whether the key may be another for each call."""
    _keys: _KeyRing | None = attrs.field(default=None, init=False, repr=False)
    _words: tuple[str, ...] = attrs.field(default=(), init=False, repr=False)
    _looked_for: tuple[tuple[str, ...], Secrets] | None = attrs.field(default=None, init=False, repr=False)
    _shown: deque[str] = attrs.field(factory=lambda: deque(maxlen=_REMEMBERED), init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        given = self.config.api_key
        if isinstance(given, tuple):
            self._keys = _KeyRing(tuple([check_key(key, "api_key") for key in given]))
        self.varies = self._keys is not None or callable(given)
        self._words = tuple([Secret(word) for name, value in self.config.headers.items() for word in of_header(name, value)])

    def header(self, key: str | None = None) -> dict[str, str]:
        """The header that shows a key, or the one for the next call; nothing where there is none.

        Raises :class:`ConfigError` for a key that no header can carry.
        """
        key = key or (None if self.config.credentials is not None else self._key())
        if key is None:
            return {}
        check_key(key, self.config.name or self.row.name)
        if key not in self._shown:
            self._shown.append(Secret(key))
        return {self.row.key_header: Secret(f"{self.row.key_prefix}{key}")}

    def _key(self) -> str | None:
        given = self.config.api_key
        if self._keys is not None:
            return self._keys.pick(self.clock.monotonic())
        if callable(given):
            return _call_key_function(given, self.config.name or self.row.name)
        return given if isinstance(given, str) else from_environment(self.row.key_env)

    def replace_key(
        self, headers: Mapping[str, str], error: DispatchError, lease: KeyAssignment | None = None
    ) -> dict[str, str] | None:
        """After a refusal: the header of another key to try at once, where it was about the key and there is another awake.

        Where keys have limits of their own, the ``lease`` says which of them has a place.
        """
        rest = next((seconds for kind, seconds in _RESTS if isinstance(error, kind)), None)
        if self._keys is None or rest is None:
            return None
        now = self.clock.monotonic()
        used = headers.get(self.row.key_header, "").removeprefix(self.row.key_prefix)
        self._keys.rest(used, now + min(error.retry_after or rest, max(rest, _LONGEST_HINT)))
        awake = self._keys.awake(now)
        if not awake:
            return None
        other = awake[0] if lease is None else lease.move(awake, error)
        return None if other is None else self.header_of(other)

    @property
    def count(self) -> int:
        """How many keys there are to choose from; 0 where they were not given as a list."""
        return len(self._keys.keys) if self._keys is not None else 0

    def awake(self) -> tuple[int, ...]:
        """The numbers of the keys to use now, the first first; that whose rest ends first where all rest."""
        if self._keys is None:
            return ()
        now = self.clock.monotonic()
        return self._keys.awake(now) or (self._keys.keys.index(self._keys.pick(now)) + 1,)

    def header_of(self, number: int) -> dict[str, str]:
        """The header that shows the key of this number."""
        return self.header(self._keys.keys[number - 1]) if self._keys is not None else {}

    def number(self, headers: Mapping[str, str]) -> int | None:
        """Which of several keys these headers show, counted from 1."""
        if self._keys is None:
            return None
        used = headers.get(self.row.key_header, "").removeprefix(self.row.key_prefix)
        return self._keys.keys.index(used) + 1 if used in self._keys.keys else None

    def hide(self, words: tuple[str, ...]) -> None:
        """Mask these words too."""
        self._words += words

    def mask(self, text: str) -> str:
        """Return a vendor's text without keys that were used lately, secrets of ``headers=``, and the proxy's login."""
        return self._secrets().mask(text)

    def mask_id(self, identity: str, further: tuple[str, ...] = ()) -> str:
        """Return the id of a call without secrets, ``further`` ones too; most ids hold none, which is seen quickly."""
        secrets = self._secrets()
        identity = secrets.mask(identity) if secrets.may_be_in(identity) else identity
        return Secrets(further).mask(identity) if further else identity

    def _secrets(self) -> Secrets:
        known, secrets = self._looked_for, (*self._shown, *self._words)
        if known is None or known[0] != secrets:
            known = self._looked_for = (secrets, Secrets(secrets))
        return known[1]

    def url(self) -> str | None:
        """The address, without a slash at its end, and without the path of a call. Raises :class:`ConfigError` for none."""
        row, url = self.row, self._address()
        if url and "://" not in url:  # OLLAMA_HOST is a bare host, as its server's documentation has it
            url = f"http://{url}" if ":" in url else f"http://{url}:{(row.base_url or '').rpartition(':')[2]}"
        named = next((name for name in row.url_env if from_environment((name,))), "base_url")
        field = "base_url" if self.config.base_url else named
        return root_of(row, url, field) if url else None

    def _address(self) -> str | None:
        """The address as it is configured."""
        return self.config.base_url or from_environment(self.row.url_env) or _fill_address(self.row.base_url)

    def version(self) -> str | None:
        """The API's version, where a vendor has several."""
        return self.config.api_version or from_environment(self.row.version_env)

    def missing(self) -> str | None:
        """What is missing, and where to give it; ``None`` when nothing is."""
        row = self.row
        if not (self.config.api_key or self.config.credentials or from_environment(row.key_env) or row.keyless):
            hint = "".join([f"; {text}" for text in misspelt_variables(certainly=True, of=row.key_env)])
            return f"no API key; pass api_key=... or set {' or '.join(row.key_env)}{hint}"
        if not self._address():
            return f"no address; pass base_url=... or set {' or '.join((*row.url_env, *_PLACES.findall(row.base_url or '')))}"
        return None


def _call_key_function(source: Callable[[], str], vendor: str) -> str:
    """The token of a function; raises :class:`AuthenticationError` where it gives none, so that another vendor is asked."""
    try:
        token = source()
    except DispatchError:
        raise
    except Exception as foreign:  # noqa: BLE001 - a function of the user's may raise anything, and its text may hold a secret
        text = f"{vendor}: the function that gives the key raised {type(foreign).__name__}"
        raise AuthenticationError(text, sent=False) from None
    if not isinstance(token, str):
        raise AuthenticationError(f"{vendor}: the function that gives the key gave {type(token).__name__}, not a text", sent=False)
    return without_ends(token)


def _fill_address(url: str | None) -> str | None:
    """An address whose {NAME}s are taken from the environment; ``None`` where one is not there."""
    for name in _PLACES.findall(url or ""):
        value = from_environment((name,))
        if value is None:
            return None
        url = (url or "").replace(f"{{{name}}}", value.rstrip("/"))
    return url


_OURS = ("CACHE_DIR", "HOME", "LOCKFILE", "MODEL", "PROFILE", "RECEIPTS_KEY", "REGISTRY")
_ALIKE = 0.85


def misspelt_variables(*, certainly: bool = False, of: Collection[str] | None = None) -> list[str]:
    """A sentence for each variable of the environment that nothing reads and whose name is like that of one which is not set.

    ``certainly``: only for those that differ in underscores and case alone. ``of``: only for those that are meant to be these.
    """
    known = {name: _letters(name) for row in vendor_rows() for name in (*row.key_env, *row.url_env)}
    known |= {f"LLMDISPATCHER_{name}": _letters(f"LLMDISPATCHER{name}") for name in _OURS}
    there = variables()
    same = {letters: name for name, letters in known.items()}
    found = {
        name: same.get(_letters(name)) if certainly else closest_name(name, known, _ALIKE) for name in there if name not in known
    }
    return [
        f"{name} is not read (did you mean {right}?)"
        for name, right in found.items()
        if right is not None and right not in there and (of is None or right in of)
    ]


def _letters(name: str) -> str:
    return name.replace("_", "").casefold()


def root_of(row: VendorRow, address: str, field: str) -> str:
    """The base of an address, which may be that of a whole call; ``field`` is where it stands. Raises :class:`ConfigError`."""
    root = _CALLS.sub("", base_url(address, field))
    if row.name == "azure":
        root = _DEPLOYED.sub("", root)
    if row.codec == "anthropic_messages":  # its paths begin with the version
        root = root.removesuffix("/v1")
    return root


def check_version(version: str | None) -> str | None:
    """The version of an API, if an address can carry it."""
    if version is not None and (not _VERSION.fullmatch(version) or ".." in version):
        raise ConfigError(f"api_version: {version[:80]!r} is not a version; give one such as '2024-10-21'")
    return version


def addresses(row: VendorRow, config: VendorConfig, url: str) -> Callable[[str, str], str]:
    """Where a model is asked, given the path that its format wants."""
    if row.name == "azure":
        return _azure(url, config)
    if row.codec == "ollama_chat":  # its own API and OpenAI's stand side by side
        root = url.removesuffix("/v1").removesuffix("/api")
        return lambda _model, path: root + (path if path.startswith("/api/") else f"/v1{path}")
    return lambda _model, path: url + path


def _azure(url: str, config: VendorConfig) -> Callable[[str, str], str]:
    """Azure's two kinds of address: classic ones with an api-version, where most paths have the deployment, or v1 without.

    https://learn.microsoft.com/azure/ai-foundry/openai/api-version-lifecycle
    """
    root, version = url.removesuffix("/openai"), config.api_version
    if url.endswith("/openai/v1") or version in (None, "v1", "preview"):
        base = url if url.endswith("/v1") else f"{root}/openai/v1"
        return lambda _model, path: base + path

    def address(model: str, path: str) -> str:
        everywhere = not model or path.startswith(("/responses", "/models"))
        deployed = "" if everywhere else f"/deployments/{name_in_path(model, safe='')}"
        return f"{root}/openai{deployed}{path}{'&' if '?' in path else '?'}api-version={version}"

    return address
