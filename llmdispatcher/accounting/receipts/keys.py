"""Ed25519 keys: private keys that sign, kept in files that only the owner can read, and public keys that verify, by id.

A key file is written completely or not at all, and never over another file:

::

    # llmdispatcher: private key for receipts. Whoever has it signs in your name.
    key_id = key_0123456789abcdef
    private_key = 43 letters of base64url
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import os
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NoReturn

import attrs

from ...errors import ConfigError
from ...runtime import from_environment, write_file
from .format import KEY, decode_base64url, encode_base64url, faults, parse_json, require_extra

try:
    from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key, load_pem_public_key
except ImportError:  # `require_extra` says so
    pass

_HEAD = "# llmdispatcher: private key for receipts. Whoever has it signs in your name."


def private_bytes(text: str) -> bytes | None:
    """The 32 bytes in a key file's text or in base64 of either alphabet; else ``None``."""
    lines = dict(line.partition("=")[::2] for line in text.splitlines() if line.startswith("private_key"))
    written = next(iter(lines.values()), text).strip().rstrip("=").replace("+", "-").replace("/", "_")
    try:
        raw = base64.b64decode(written + "=" * (-len(written) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return None
    return raw if len(raw) == 32 else None


ENVIRONMENT = ("LLMDISPATCHER_RECEIPTS_KEY", "LLMRING_RECEIPTS_PRIVATE_KEY_B64")
"""Variables that hold the private key in base64, or the path of its file; the first one that is set counts."""

_PEM_END = "-----END PUBLIC KEY-----"


@attrs.frozen
class PublicKey:
    """The 32 bytes that verify receipts; anybody may have them."""

    raw: bytes = attrs.field(repr=False)

    def __attrs_post_init__(self) -> None:
        require_extra()
        if len(self.raw) != 32:
            raise ConfigError(f"public_key: {len(self.raw)} bytes are not a key of Ed25519; it has 32")

    @property
    def key_id(self) -> str:
        """``"key_"`` and the first 16 hexadecimal digits of the SHA-256 of the 32 bytes."""
        return f"key_{hashlib.sha256(self.raw).hexdigest()[:16]}"

    def verifies(self, signature: bytes, content: bytes) -> bool:
        """Tell whether the owner of the private key signed exactly this."""
        try:
            Ed25519PublicKey.from_public_bytes(self.raw).verify(signature, content)
        except InvalidSignature:
            return False
        return True

    def pem(self) -> str:
        """Return the key as SubjectPublicKeyInfo in PEM (RFC 8410), which openssl and others read."""
        key = Ed25519PublicKey.from_public_bytes(self.raw)
        return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode("ascii")

    def as_dict(self) -> dict[str, Any]:
        """Return ``key_id``, ``public_key`` (base64url without padding), ``algorithm`` and ``format``, as JSON has them."""
        return {"key_id": self.key_id, "public_key": encode_base64url(self.raw), "algorithm": "Ed25519", "format": "base64url"}

    @classmethod
    def from_dict(cls, entry: Any) -> PublicKey:
        """Read what :meth:`as_dict` returns; raises :class:`ConfigError` for another form, or an id that is not the key's."""
        for path, text in faults(entry, KEY):
            raise ConfigError(f"public key: {path or 'it'}: {text}; give it as `receipts public-key` wrote it")
        key = cls(decode_base64url(entry["public_key"], 32))
        if key.key_id != entry["key_id"]:
            raise ConfigError(
                f"public key: key_id: {entry['key_id']} is not the id of this key, which is {key.key_id}; get it anew"
            )
        return key

    def __repr__(self) -> str:
        return f"PublicKey({self.key_id})"


@attrs.frozen
class PublicKeys:
    """All public keys of one signer, old ones included, and the id of the present one (``None`` if unknown)."""

    keys: tuple[PublicKey, ...]
    current_key_id: str | None = None

    def get(self, key_id: str) -> PublicKey | None:
        """Return the key with this id, or ``None``."""
        return next((key for key in self.keys if key.key_id == key_id), None)

    def as_dict(self) -> dict[str, Any]:
        """Return ``{"keys": [...], "current_key_id": ...}``."""
        return {"keys": [key.as_dict() for key in self.keys], "current_key_id": self.current_key_id}

    def to_json(self) -> str:
        """Return the keys as JSON, to be published."""
        return json.dumps(self.as_dict(), indent=2) + "\n"

    def pem(self) -> str:
        """Return all keys in PEM, one after the other; their ids follow from the keys."""
        return "".join(key.pem() for key in self.keys)

    @classmethod
    def from_text(cls, text: str) -> PublicKeys:
        """Read the JSON of :meth:`to_json`, or PEM with one key or more; raises :class:`ConfigError` for anything else."""
        return cls._from_json(text) if text.lstrip().startswith("{") else cls(_from_pem(text))

    @classmethod
    def _from_json(cls, text: str) -> PublicKeys:
        found = parse_json(text, "public keys")
        if "keys" not in found and "public_key" in found:
            return cls((PublicKey.from_dict(found),))
        if not isinstance(found.get("keys"), list) or not isinstance(found.get("current_key_id"), str | None):
            raise ConfigError('public keys: there is no list "keys"; give {"keys": [...], "current_key_id": ...}')
        return cls(tuple(map(PublicKey.from_dict, found["keys"])), found.get("current_key_id"))

    @classmethod
    def of(cls, given: Keys) -> PublicKeys:
        """Read public keys: a key, several, their JSON or PEM as text, or the path of a file with that."""
        if isinstance(given, PublicKeys):
            return given
        if isinstance(given, PublicKey):
            return cls((given,), given.key_id)
        if isinstance(given, Path):
            return cls.from_text(_text_of(given))
        if isinstance(given, str):
            return cls.from_text(given)
        if isinstance(given, Mapping):
            return cls._from_json(json.dumps(given))
        return cls(tuple(given))


Keys = PublicKeys | PublicKey | str | Path | Mapping[str, Any] | Iterable[PublicKey]


def _text_of(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise ConfigError(f"public keys: {path} cannot be read ({type(error).__name__}); give a file of PEM or JSON") from None


def _from_pem(text: str) -> tuple[PublicKey, ...]:
    require_extra()
    blocks = [block.strip() for block in text.split(_PEM_END) if block.strip()]
    keys = []
    for block in blocks:
        try:
            key = load_pem_public_key(f"{block}\n{_PEM_END}\n".encode())
        except (ValueError, UnsupportedAlgorithm):
            key = None
        if not isinstance(key, Ed25519PublicKey):
            raise ConfigError(
                "public keys: this is neither PEM with keys of Ed25519 nor JSON; give what `receipts public-key` writes"
            )
        keys.append(PublicKey(key.public_bytes_raw()))
    if not keys:
        raise ConfigError("public keys: the text is empty; give PEM or JSON")
    return tuple(keys)


class SigningKey:
    """The private key that signs receipts. It is never shown, not in ``repr`` nor in an error, and it cannot be pickled."""

    __slots__ = ("_key", "public")

    def __init__(self, raw: bytes) -> None:
        """Make the key of its 32 secret bytes; :meth:`generate`, :meth:`load` and :meth:`from_environment` are the usual ways."""
        if not isinstance(raw, bytes) or len(raw) != 32:
            raise ConfigError("key: a private key of Ed25519 has 32 bytes; generate one, or load its file")
        require_extra()
        self._key = Ed25519PrivateKey.from_private_bytes(raw)
        self.public = PublicKey(self._key.public_key().public_bytes_raw())

    @classmethod
    def generate(cls, path: str | Path | None = None) -> SigningKey:
        """Make a new key; with ``path`` it is written to a file there, which only its owner can read.

        Raises :class:`ConfigError` if the file exists, since a key is never overwritten, or cannot be written.
        """
        require_extra()
        key = cls(Ed25519PrivateKey.generate().private_bytes_raw())
        if path is not None:
            key.save(path)
        return key

    def save(self, path: str | Path) -> None:
        """Write a key file with mode 0600, completely or not at all; raises :class:`ConfigError` if the file exists."""
        path = Path(path)
        text = f"{_HEAD}\nkey_id = {self.key_id}\nprivate_key = {encode_base64url(self._key.private_bytes_raw())}\n"
        try:
            write_file(path, text.encode("ascii"), replace=False)
        except FileExistsError:
            raise ConfigError(f"key: {path} exists, and a key is never overwritten; take another name") from None
        except OSError as error:
            raise ConfigError(f"key: {path} cannot be written ({error.strerror}); choose a directory of your own") from None

    @classmethod
    def load(cls, path: str | Path) -> SigningKey:
        """Read a key file: as :meth:`save` writes it, PKCS #8 in PEM, or base64.

        Raises :class:`ConfigError` if it cannot be read, if others than its owner can read it, or if it holds no key.
        """
        path = Path(path)
        try:
            with path.open(encoding="ascii", errors="replace") as file:
                mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
                text = file.read(65_536)
        except OSError as error:
            raise ConfigError(f"key: {path} cannot be read ({error.strerror}); give the path of a key file") from None
        if os.name == "posix" and mode & 0o077:
            raise ConfigError(f"key: others than its owner may read {path} (mode {mode:04o}); chmod 600 it, or take a new key")
        return cls._of_text(text, str(path))

    @classmethod
    def from_environment(cls) -> SigningKey:
        """Read the key in ``LLMDISPATCHER_RECEIPTS_KEY``, as base64 or as the path of its file.

        ``LLMRING_RECEIPTS_PRIVATE_KEY_B64`` is read next. Raises :class:`ConfigError` if neither is set, or its value is no key.
        """
        value = from_environment(ENVIRONMENT)
        if value is None:
            raise ConfigError(f"key: there is none; set {ENVIRONMENT[0]} to a key file's path, or generate one")
        if private_bytes(value) is None and not value.lstrip().startswith("-----BEGIN") and Path(value).is_file():
            return cls.load(value)
        return cls._of_text(value, ENVIRONMENT[0])

    @classmethod
    def _of_text(cls, text: str, name: str) -> SigningKey:
        raw = _pkcs8(text) if text.lstrip().startswith("-----BEGIN") else private_bytes(text)
        if raw is None:  # the text may be a key with a slip in it, and is not repeated
            raise ConfigError(f"{name}: no private key of Ed25519 is in it; give a key file, PEM, or 32 bytes in base64")
        return cls(raw)

    @property
    def key_id(self) -> str:
        """The id of the public key."""
        return self.public.key_id

    def sign(self, content: bytes) -> bytes:
        """Sign the content with 64 bytes; the same content has the same signature."""
        return self._key.sign(content)

    def __repr__(self) -> str:
        return f"SigningKey({self.key_id})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a private key is not pickled or copied; hand on the path of its file")


def _pkcs8(text: str) -> bytes | None:
    try:
        key = load_pem_private_key(text.encode(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return None
    return key.private_bytes_raw() if isinstance(key, Ed25519PrivateKey) else None
