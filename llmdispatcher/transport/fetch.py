"""Fetch what a request names by address, for vendors that need the bytes: only where allowed, and only from the public internet.

A name is resolved once. Every address that it has must be allowed, and the connection goes to one of these addresses: a name server
that answers differently a moment later is not asked again. A proxy is asked to connect to such an address, too, unless it is
trusted to resolve names and to refuse what must not be reached. No redirects, no credentials, no port but 443.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from functools import partial
from ipaddress import ip_address
from urllib.parse import SplitResult, urlsplit

import attrs

from .._version import __version__
from ..errors import Cancelled, DeadlineExceeded, DispatchError, InvalidRequest
from ..runtime import Deadline
from ..types import (
    IMAGE,
    VIDEO,
    FilePart,
    HttpCall,
    HttpReply,
    ImagePart,
    Medium,
    Message,
    Part,
    RemoteFetch,
    Request,
    VideoPart,
    is_private_url,
    media_type_of,
    medium_of,
)
from .connection import target_of
from .context import Admit, IoLimits
from .dns import Address
from .proxies import Proxy, environment_proxy
from .transport import Transport

MAX_ADDRESSES = 16
"""Addresses that one request may name."""

_LOGIN = 407
_HEADERS = {"Accept": "*/*", "Accept-Encoding": "identity", "User-Agent": f"llmdispatcher/{__version__}"}
_MEDIA: Mapping[type[Part], Medium] = {ImagePart: IMAGE, VideoPart: VIDEO}
_GOOGLES = ("generativelanguage.googleapis.com", "youtube.com", "www.youtube.com", "youtu.be")

RemotePart = ImagePart | FilePart | VideoPart
"""The parts that can name an address."""


NEEDS_BYTES: Mapping[str, Callable[[RemotePart], bool]] = {
    "ollama": lambda _part: True,
    "ollama_chat": lambda _part: True,
    "bedrock_converse": lambda _part: True,
    "openai_chat": lambda part: isinstance(part, FilePart),
    "gemini": lambda part: urlsplit(part.url or "").hostname not in _GOOGLES,
}
"""Wire format or vendor kind -> which parts must be sent as bytes. All others take addresses."""


def fetch_remote(request: Request, allow: RemoteFetch | None, deadline: Deadline, *speaks: str, trust_env: bool = False) -> Request:
    """Replace the addresses that a vendor cannot fetch by their bytes; ``speaks`` are its kind and wire format.

    With ``trust_env``, proxy and CA bundle that are not given come from the environment.
    Returns the request itself where nothing is allowed or needed. Raises :class:`InvalidRequest` for an address that is not
    allowed, and for content that is not there, too large or of the wrong kind; another vendor may take it.
    """
    needs = next((NEEDS_BYTES[name] for name in speaks if name in NEEDS_BYTES), None)
    if allow is None or needs is None:
        return request
    urls = dict.fromkeys(part.url or "" for part in _remote_parts(request) if needs(part))
    if not urls:
        return request
    if len(urls) > MAX_ADDRESSES:
        raise _refusal(f"{len(urls)} addresses would have to be fetched, more than {MAX_ADDRESSES}; send their bytes")
    fetched = _fetch_all(list(urls), allow, deadline, trust_env)
    messages = [_fill(message, fetched, needs) for message in request.messages]
    return attrs.evolve(request, messages=messages)


def _remote_parts(request: Request) -> Iterator[RemotePart]:
    for message in request.messages:
        if type(message.content) is tuple:
            yield from (part for part in message.content if isinstance(part, RemotePart) and _is_address(part.url))


def _is_address(url: str | None) -> bool:
    return url is not None and url.lower().startswith(("http://", "https://"))


def _fill(message: Message, fetched: Mapping[str, Fetched], needs: Callable[[RemotePart], bool]) -> Message:
    if type(message.content) is not tuple:
        return message
    return attrs.evolve(message, content=tuple([_fill_part(part, fetched, needs) for part in message.content]))


def _fill_part(part: Part, fetched: Mapping[str, Fetched], needs: Callable[[RemotePart], bool]) -> Part:
    if not isinstance(part, RemotePart) or part.url is None or part.url not in fetched or not needs(part):
        return part
    found = fetched[part.url]
    media_type = media_type_of(found.data, part.url, found.content_type)
    medium = _MEDIA.get(type(part), medium_of(media_type))
    if medium is None or not medium.takes(media_type):
        wanted = "a document" if medium is None else f"an {medium.name}" if medium is IMAGE else f"a {medium.name}"
        raise _refusal(f"{found.host} sent {media_type or 'bytes of no known kind'} where {wanted} was asked for")
    return attrs.evolve(part, url=None, data=found.data, media_type=media_type)


@attrs.frozen(kw_only=True)
class Fetched:
    """What was fetched from one address."""

    host: str
    data: bytes = attrs.field(repr=False)
    content_type: str | None
    """The media type in the answer's head."""


def _fetch_all(urls: list[str], allow: RemoteFetch, deadline: Deadline, trust_env: bool) -> Mapping[str, Fetched]:
    end = deadline.clock.monotonic() + allow.timeout
    own = Deadline(min(end, deadline.at), deadline.clock, deadline.cancellation, allow.timeout)
    try:
        return {url: fetch(url, allow, own, trust_env=trust_env) for url in urls}
    except DeadlineExceeded:
        deadline.check()
        raise _refusal(f"its addresses were not fetched within {allow.timeout:g} s (fetch_remote.timeout)") from None


def fetch(url: str, allow: RemoteFetch, deadline: Deadline, *, trust_env: bool = False) -> Fetched:
    """Fetch one address. Raises :class:`InvalidRequest`, which shows only the host of the address."""
    parts, host = _check(url, allow)
    limits = IoLimits(connect=5.0, first_byte=None, idle=10.0, max_body=allow.max_bytes)
    origin = f"https://{host}"
    proxy = Proxy.of(allow.proxy, "fetch_remote.proxy") if allow.proxy else environment_proxy(origin) if trust_env else None
    admit: Admit | None = partial(_admit, host, allow)
    if proxy is not None and allow.proxy_resolves:
        _check_name(host, allow)
        admit = None
    call = HttpCall(method="GET", url=origin + target_of(parts), headers=_HEADERS)
    transport = Transport(
        origin, limits=limits, pool_size=1, ca_bundle=allow.ca_bundle, proxy=proxy, trust_env=trust_env, admit=admit
    )
    try:
        with closing(transport):
            reply = transport.open(call, deadline)
            content_type = reply.headers.get("content-type", "").partition(";")[0].strip().lower()
            return Fetched(host=host, data=_read_body(reply, host), content_type=content_type or None)
    except (InvalidRequest, Cancelled, DeadlineExceeded):
        raise
    except DispatchError as error:
        if proxy is not None and error.sent is False and (error.phase != "tls" or proxy.field in error.message):
            raise _refusal(_describe_proxy_error(error, allow)) from None
        what = f"failed ({error.phase})" if error.phase is not None else f"is malformed, or longer than {allow.max_bytes} bytes"
        raise _refusal(f"the answer of {host} {what}; send the bytes themselves") from None


def _check(url: str, allow: RemoteFetch) -> tuple[SplitResult, str]:
    """The parts of the address, and its host."""
    try:
        parts = urlsplit(url)
        host, port = (parts.hostname or "").rstrip("."), parts.port
    except ValueError:
        raise _refusal("an address that cannot be read") from None
    if parts.scheme != "https" or not host or port not in (None, 443):
        raise _refusal("only https:// addresses at the usual port are fetched; send the bytes themselves")
    if "@" in parts.netloc or not url.isprintable() or " " in url or not host.isascii():
        raise _refusal("an address with a user, blanks, control characters or a host beyond ASCII is not fetched")
    if not allow.allows_host(host):
        raise _refusal(f"{host} is not among the hosts that may be fetched from; add it to fetch_remote.hosts")
    return parts, f"[{host}]" if ":" in host else host


def _describe_proxy_error(error: DispatchError, allow: RemoteFetch) -> str:
    """What a failure before the answer says, and how the proxy can be asked by name."""
    told = error.message.partition("; check base_url")[0]
    if allow.proxy_resolves or error.status == _LOGIN or error.phase == "tls":
        return told
    return f"{told}; if the proxy refuses private addresses itself, fetch_remote.proxy_resolves=True gives it the name"


def _check_name(host: str, allow: RemoteFetch) -> None:
    """Refuse what cannot be public, whoever resolves it."""
    number = host.strip("[]")
    try:
        is_allowed = allow.allows_address(str(ip_address(number)))
    except ValueError:
        is_number = number.rpartition(".")[2][:1].isdigit()  # in one of its other spellings
        is_allowed = host in allow.hosts or not (is_number or is_private_url(f"https://{host}"))
    if not is_allowed:
        raise _refusal(f"{host} is not public; fetch_remote.networks can allow its network, fetch_remote.hosts its name")


def _admit(host: str, allow: RemoteFetch, addresses: tuple[Address, ...]) -> None:
    """Refuse a host of which any address is not allowed."""
    if not all(allow.allows_address(str(where[0])) for _, _, _, where in addresses):
        raise _refusal(f"{host} leads to an address that is not public; fetch_remote.networks can allow its network")


def _read_body(reply: HttpReply, host: str) -> bytes:
    if reply.status != 200:
        reply.close()
        where = "; give the address that it leads to" if 300 <= reply.status < 400 else ""
        raise _refusal(f"{host} answered with status {reply.status}{where}")
    data = reply.read()
    if not data:
        raise _refusal(f"{host} sent nothing")
    return data


def _refusal(text: str) -> InvalidRequest:
    return InvalidRequest(f"message.content: {text}", try_elsewhere=True)
