"""TLS: contexts for CAs and client certificates, and TLS over what is no plain socket, or by a context of the user's own."""

from __future__ import annotations

import contextlib
import os
import re
import ssl
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from requests.utils import DEFAULT_CA_BUNDLE_PATH
from urllib3.util.ssl_ import create_urllib3_context

from ..errors import ConfigError
from ..runtime import new_lock, user_path
from .context import HANG_UPS, IoContext, active
from .sockets import RECEIVE, PlainSocket, TLSSocket

_PIECE = 65536
"""Bytes to encrypt at once."""
_HASHED = re.compile(r"[0-9a-f]{8}\.r?\d+")
"""Names by which OpenSSL finds certificates in a folder."""
_CERTIFICATES = (".pem", ".crt", ".cer")

SslContext = ssl.SSLContext
"""A TLS context of the user's own."""
ClientCert = tuple[str, ...]
"""Paths of a certificate with its chain and of its key, where that is in another file, and the key's password."""

_contexts: dict[tuple[tuple[str, str], ...], ssl.SSLContext] = {}
_contexts_lock = new_lock()


def tls_context(bundles: Sequence[tuple[str, str]] = ()) -> ssl.SSLContext:
    """The context that trusts these CAs, made once per process: loading the certificates takes longer than a call.

    A bundle is the setting that names it, and the path of a file or folder; without any, the usual CAs are trusted.
    """
    key = tuple(bundles) or (("ca_bundle", DEFAULT_CA_BUNDLE_PATH),)
    with _contexts_lock:
        context = _contexts.get(key)
        if context is None:
            context = _contexts[key] = _make_context(key)
    return context


class ClientContexts:
    """Contexts that show a client certificate: another one after its files have changed, as they do when it is renewed."""

    def __init__(self, bundles: Sequence[tuple[str, str]], cert: ClientCert) -> None:
        self._bundles = bundles
        self._cert = cert
        self._held: tuple[tuple[Any, ...], ssl.SSLContext] | None = None

    def current(self) -> ssl.SSLContext:
        """The context for a new connection. Raises :class:`ConfigError` where the certificate was never readable."""
        held, files = self._held, self._stamp()
        if held is None or held[0] != files:
            try:
                held = self._held = files, _client_context(self._bundles, self._cert)
            except ConfigError:
                if held is None:
                    raise
        return held[1]  # while one of two files is renewed already, the old ones do

    def _stamp(self) -> tuple[Any, ...]:
        try:
            found = [user_path(path, "client_cert").stat() for path in self._cert[:2]]
        except (OSError, ValueError):
            return ()
        return tuple([(status.st_mtime_ns, status.st_size, status.st_ino) for status in found])


def _client_context(bundles: Sequence[tuple[str, str]], cert: ClientCert) -> ssl.SSLContext:
    context = _make_context(tuple(bundles) or (("ca_bundle", DEFAULT_CA_BUNDLE_PATH),))
    paths = [str(user_path(path, "client_cert")) for path in cert[:2]]
    try:
        context.load_cert_chain(
            paths[0], paths[1] if len(paths) > 1 else None, password=lambda: cert[2] if len(cert) > 2 else _refuse_encrypted()
        )
    except ssl.SSLError as error:
        why = (
            "the key is not that of the certificate" if error.reason == "KEY_VALUES_MISMATCH" else "it holds no certificate and key"
        )
        if len(cert) > 2:
            why += ", or the password is wrong"
        raise ConfigError(
            f"client_cert: {why}; give a PEM file with both, or (certificate, key), or (certificate, key, password)"
        ) from None
    except OSError as error:
        raise ConfigError(
            f"client_cert: {error.strerror or 'it cannot be read'}: {' or '.join(map(repr, paths))}; correct the path"
        ) from None
    return context


def _refuse_encrypted() -> NoReturn:
    """OpenSSL would ask on the terminal."""
    raise ConfigError("client_cert: the key has a password; give (certificate, key, password)")


def _make_context(bundles: Sequence[tuple[str, str]]) -> ssl.SSLContext:
    context = create_urllib3_context(ssl_minimum_version=ssl.TLSVersion.TLSv1_2)
    context.set_alpn_protocols(["http/1.1"])
    context.sslsocket_class = TLSSocket
    for field, value in bundles:
        paths = [value]
        if field == "SSL_CERT_DIR":  # of several, those that are there
            paths = [path for path in value.split(os.pathsep) if Path(path).is_dir()] or paths
        for path in paths:
            _trust(context, field, str(user_path(path, field)))
    return context


def _trust(context: ssl.SSLContext, field: str, path: str) -> None:
    try:
        if not Path(path).is_dir():
            context.load_verify_locations(cafile=path)
        elif any(_HASHED.fullmatch(file.name) for file in Path(path).iterdir()):
            context.load_verify_locations(capath=path)
        else:  # a folder that nobody has rehashed
            files = [file for file in Path(path).iterdir() if file.suffix.lower() in _CERTIFICATES]
            if not files:
                raise FileNotFoundError
            for file in files:
                context.load_verify_locations(cafile=str(file))
    except OSError:
        raise ConfigError(
            f"{field}: {path!r} holds no CA certificates that can be read; give a PEM file, or a directory of them"
        ) from None


def secure(sock: Any, tls: ssl.SSLContext, host: str, context: IoContext) -> Any:
    """Shake hands over ``sock``, which is closed where that fails. The name in the peer's certificate is ``host``."""
    name = host.strip("[]").rstrip(".")
    try:
        if isinstance(sock, PlainSocket) and getattr(tls, "sslsocket_class", None) is TLSSocket:
            return tls.wrap_socket(sock, server_hostname=name)
        context.phase = "tls"
        return LayeredTLS(sock, tls, name)
    except BaseException:
        sock.release()
        sock.close()
        raise


class LayeredTLS:
    """TLS over a socket that speaks TLS itself, or by a context whose sockets are none of ours.

    It stands in for a :class:`~llmdispatcher.transport.sockets.DeadlineSocket`: the one below it has the owner and the time limits.
    """

    __slots__ = ("_below", "_incoming", "_outgoing", "_tls", "adopt", "close", "release")

    def __init__(self, below: Any, context: ssl.SSLContext, host: str) -> None:
        self._below = below
        self.adopt, self.release, self.close = below.adopt, below.release, below.close
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=host)
        self._run(self._tls.do_handshake)
        if self._tls.selected_alpn_protocol() not in (None, "http/1.1"):
            raise ConfigError("ssl_context: it offers another protocol than HTTP/1.1; use set_alpn_protocols(['http/1.1'])")

    @property
    def owner(self) -> IoContext | None:
        """The call that has the socket."""
        owner: IoContext | None = self._below.owner
        return owner

    def is_readable(self) -> bool:
        """Whether there is something to read, which may be the end."""
        return bool(self._tls.pending() or self._incoming.pending or self._below.is_readable())

    def sendall(self, data: bytes) -> None:
        """Send all of ``data``."""
        view = memoryview(data)
        while view:
            view = view[self._run(self._tls.write, view[:_PIECE]) :]

    def receive(self, left: float, *, once: bool = False) -> bytes:
        """Receive at least a byte, or nothing at the end, within ``left`` seconds."""
        while True:
            try:
                return self._tls.read(RECEIVE)
            except ssl.SSLWantReadError:
                self._flush()
                context = self.owner
                data = self._below.receive(left, once=once)
                if not data:
                    return b""
                self._incoming.write(data)
                left = context.left() if context is not None else left
            except ssl.SSLZeroReturnError:
                return b""

    def receive_within(self, seconds: float) -> bytes:
        """What arrives within ``seconds``, or nothing."""
        self._incoming.write(self._below.receive_within(seconds))
        try:
            return self._tls.read(RECEIVE)
        except ssl.SSLError:
            return b""

    def _run(self, act: Callable[..., Any], *arguments: Any) -> Any:
        while True:
            try:
                done = act(*arguments)
            except ssl.SSLWantReadError:
                self._flush()
            except ssl.SSLError:
                with contextlib.suppress(*HANG_UPS):
                    self._flush()  # the alert that says why
                raise
            else:
                self._flush()
                return done
            data = self._below.receive(active.context.left())
            if data:
                self._incoming.write(data)
            else:
                self._incoming.write_eof()

    def _flush(self) -> None:
        data = self._outgoing.read()
        if data:
            self._below.sendall(data)
