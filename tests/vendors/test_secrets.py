"""Keys and headers that vendors echo: whole, in parts, in the usual encodings, and wherever an error cuts its text."""

from __future__ import annotations

import base64
import html
import json
import random
import re
import string
import traceback
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any
from urllib.parse import quote

import pytest

from llmdispatcher import Deadline, DispatchError, OpenAIVendor, Request
from llmdispatcher.testing import VendorSimulator, faults
from llmdispatcher.vendors.secrets import PART, Secrets
from llmdispatcher.wire import OPENAI_CHAT

from ..cases import each

KEY = "sk-CANARY/+=0123456789abcdefXYZ"
SECRETS = Secrets([KEY])


def _hex(text: str) -> str:
    return text.encode().hex()


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


ENCODINGS: dict[str, Callable[[str], str]] = {
    "plain": str,
    "upper case": str.upper,
    "backwards": lambda key: key[::-1],
    "percent": lambda key: quote(key, safe=""),
    "percent, all of it": lambda key: "".join([f"%{ord(sign):02x}" for sign in key]),
    "percent, twice": lambda key: quote(quote(key, safe=""), safe=""),
    "base64": _base64,
    "base64 behind a scheme": lambda key: _base64(f"Bearer {key}"),
    "base64 behind a user": lambda key: _base64(f"me:{key}"),
    "base64 of addresses": lambda key: base64.urlsafe_b64encode(f"?{key}?".encode()).decode(),
    "base64 in lines": lambda key: base64.encodebytes((key * 3).encode()).decode(),
    "base64, twice": lambda key: _base64(_base64(key)),
    "hexadecimal": _hex,
    "hexadecimal with colons": lambda key: key.encode().hex(":").upper(),
    "hexadecimal, escaped": lambda key: "".join([f"\\x{ord(sign):02x}" for sign in key]),
    "JSON": lambda key: "".join([f"\\u{ord(sign):04X}" for sign in key]),
    "JSON's slashes": lambda key: key.replace("/", "\\/"),
    "JSON in JSON": lambda key: json.dumps("".join([f"\\u{ord(sign):04x}" for sign in key]))[1:-1],
    "HTML by number": lambda key: "".join([f"&#{ord(sign)};" for sign in key]),
    "HTML, hexadecimal": lambda key: "".join([f"&#x{ord(sign):x};" for sign in key]),
    "HTML, with zeros": lambda key: "".join([f"&#x{ord(sign):08x};" for sign in key]),
    "HTML, without an end": lambda key: "".join([f"&#{ord(sign)}" for sign in key]),
    "hexadecimal numbers": lambda key: ", ".join([f"0x{ord(sign):02x}" for sign in key]),
    "hexadecimal with dots": lambda key: key.encode().hex("."),
    "hexadecimal with underscores": lambda key: key.encode().hex("_"),
    "hexadecimal with blanks": lambda key: "  ".join([f"{ord(sign):02x}" for sign in key]),
    "code points": lambda key: " ".join([f"U+{ord(sign):04X}" for sign in key]),
    "base64 of UTF-16": lambda key: base64.b64encode(key.encode("utf-16")).decode(),
    "base64 of UTF-16, the other way round": lambda key: base64.b64encode(key.encode("utf-16-be")).decode(),
    "percent, four times": lambda key: "".join([f"%252525{ord(sign):02x}" for sign in key]),
    "HTML by name": lambda key: key.replace("/", "&sol;").replace("+", "&plus;").replace("=", "&equals;"),
    "JSON within percent": lambda key: quote("".join([f"\\u{ord(sign):04x}" for sign in key]), safe=""),
    "invisible characters between": "\u200b".join,
    "in two lines": lambda key: f"{key[:12]}\n{key[12:]}",
}


def parts(text: str) -> list[str]:
    """What of the key can be read, also behind escapes and encodings that whole words have."""
    seen = {text, html.unescape(text), "".join([sign for sign in text if sign.isprintable()])}
    for word in re.findall(r"[A-Za-z0-9+/_=-]{8,}", text):
        for start in range(4):
            try:
                seen.add(base64.b64decode(word[start:].rstrip("=") + "=" * (-len(word[start:].rstrip("=")) % 4)).decode("latin-1"))
            except ValueError:
                continue
    pieces = [KEY[place : place + PART] for place in range(len(KEY) - PART + 1)]
    return [piece for piece in pieces for one in seen if piece.lower() in one.lower()]


@each("encoding", list(ENCODINGS))
@each("around", ["Incorrect API key provided: {}.", "{}", "x{}y", '{{"key": "{}"}}', "key={}&more=1", "\u0130: {}"])
def test_a_key_is_found_in_every_encoding(encoding, around):
    """And what stands around it stays."""
    masked = SECRETS.mask(around.format(ENCODINGS[encoding](KEY)))

    assert "***" in masked
    assert [] == parts(masked)
    assert masked.startswith(around.partition("{}")[0].replace("{{", "{"))


@each("encoding", ["plain", "percent, all of it", "base64", "hexadecimal", "JSON"])
def test_a_part_of_eight_characters_is_found(encoding):
    """Wherever it begins; a shorter one says too little."""
    for place in range(len(KEY) - PART + 1):
        told = ENCODINGS[encoding](KEY[place : place + PART])

        assert "***" in SECRETS.mask(f"the key {told} is wrong"), told
    assert f"the key {KEY[: PART - 1]} is wrong" == SECRETS.mask(f"the key {KEY[: PART - 1]} is wrong")


@each("key", ["x", "a", "sk", "key", "api", "invalid", "-", "*", "***"])
def test_a_short_key_is_not_looked_for_inside_words(key):
    """An error stays readable; the key as a word of its own is masked."""
    said = "invalidated x-api-key: monkeys ask for apiaries"

    assert said == Secrets([key]).mask(said)
    assert key.isalnum() == ("***" in Secrets([key]).mask(f"provided: '{key}'") and key != "***")


def test_any_text_is_only_masked():
    """Whatever the text: no exception, nothing else is changed, and no part is left."""
    chance = random.Random(7)
    signs = [
        *string.printable.replace("*", ""),
        "\u200b",
        "\u0130",
        "\ud800",
        "%2",
        "\\u00",
        "&#x",
        KEY,
        KEY[:9],
        *[make(KEY) for make in ENCODINGS.values()],
    ]
    for _ in range(300):
        said = "".join(chance.choices(signs, k=chance.randrange(60)))
        masked = SECRETS.mask(said)

        assert re.fullmatch(".*".join(map(re.escape, masked.split("***"))), said, re.DOTALL)
        assert [] == parts(masked)


@pytest.fixture
def simulator() -> Iterator[VendorSimulator]:
    """A vendor that answers as a test says."""
    with VendorSimulator(responses="hello") as running:
        yield running


def failure(simulator: VendorSimulator, *, stream: bool = False, key: Any = KEY, **settings: Any) -> DispatchError:
    """The error of one call."""
    made = OpenAIVendor(api_key=key, base_url=simulator.openai_url, trust_env=False, **settings)
    ask = made.stream if stream else made.send
    with closing(made), pytest.raises(DispatchError) as caught:
        list(ask(Request("gpt-4o", "hi"), Deadline.after(30)))  # type: ignore[call-overload]  # an answer is no list, and does not come
    return caught.value


@each("encoding", ["plain", "base64"])
@each("body", [b"not json %s", b'{"error": {"message": "bad %s"}}'])
def test_a_list_of_models_that_cannot_be_read_shows_no_key(body, encoding, simulator):
    """Neither to who asks for it nor in a health check."""
    echo = ENCODINGS[encoding](KEY)
    simulator.always(faults.Fault("echo", lambda peer, _context: peer.reply(200, body % echo.encode())))
    made = OpenAIVendor(api_key=KEY, base_url=simulator.openai_url, trust_env=False)
    with closing(made), pytest.raises(DispatchError) as caught:
        made.list_models(Deadline.after(30))

    assert "***" in str(caught.value)
    assert echo not in said(caught.value)


def said(error: DispatchError) -> str:
    """All that it tells, in whatever way."""
    return f"{error} {error!r} {error.args} {error.__dict__} {error.__reduce__()}"


def _refusal(text: str) -> bytes:
    return json.dumps({"error": {"message": text, "code": text[-60:]}}).encode()


CHUNK = b'data: {"choices": [{"index": 0, "delta": {"content": "one"}}]}\n\n'
WAYS: dict[str, tuple[int, bool, int, Callable[[str], bytes]]] = {
    "a refusal": (400, False, 2_000, _refusal),
    "a refusal in escapes": (
        401,
        False,
        2_000,
        lambda text: b'{"error": {"message": "%s"}}' % "".join([f"\\u{ord(sign):04x}" for sign in text]).encode(),
    ),
    "a refusal without JSON": (400, False, 200, str.encode),
    "a web page": (502, False, 160, lambda text: f"<html><title>{text}</title></html>".encode()),
    "an error in a 200": (200, False, 2_000, _refusal),
    "no JSON in a 200": (200, False, 170, str.encode),
    "an error in a stream": (200, True, 2_000, lambda text: b"data: " + _refusal(text) + b"\n\n"),
    "an error behind a chunk": (200, True, 2_000, lambda text: CHUNK + b"data: " + _refusal(text) + b"\n\n"),
    "an error event without JSON": (200, True, 200, lambda text: b"event: error\ndata: " + text.encode() + b"\n\n"),
}


@pytest.mark.parametrize("way", WAYS)
def test_a_cut_leaves_no_part_of_a_key(way, simulator):
    """Wherever the text is cut, the key was masked before; not even seven of its characters are left."""
    status, stream, most, body = WAYS[way]
    for before in range(most - len(KEY) - 8, most + 4, 3):
        echo = body("y" * before + KEY)
        simulator.always(faults.Fault("echo", lambda peer, _context, echo=echo: peer.reply(status, echo)))

        assert KEY[:5] not in said(failure(simulator, stream=stream)), before


@pytest.mark.parametrize("way", WAYS)
def test_no_frame_of_an_error_holds_the_key(way, simulator):
    """A crash reporter writes the frames of an error down."""
    status, stream, _most, body = WAYS[way]
    simulator.always(faults.Fault("echo", lambda peer, _context: peer.reply(status, body(f"bad {KEY}"))))
    frames = [frame for frame, _ in traceback.walk_tb(failure(simulator, stream=stream).__traceback__)]
    held = [value for frame in frames if "/tests/" not in frame.f_code.co_filename for value in frame.f_locals.values()]

    assert held
    assert [] == [shown for value in held if KEY[:9] in (shown := repr(value))]


def test_an_error_that_a_decoder_keeps_is_masked_at_each_reading():
    """It is raised as a copy, which still knows what was cut off."""
    decoder = OPENAI_CHAT.decoder()
    decoder.feed(CHUNK + b"data: " + _refusal("y" * (2_000 - 6) + KEY) + b"\n\n")
    for _ in range(2):
        for reading in (decoder.check, lambda: decoder.feed(b"")):
            with pytest.raises(DispatchError) as caught:
                reading()

            assert "yyy***" == caught.value.masked(SECRETS.mask).message[-6:]


@each("encoding", list(ENCODINGS))
def test_an_id_in_which_a_part_can_be_found_is_masked(encoding):
    """The quick look at an id overlooks no part that the long one finds, wherever it stands and whatever it is packed in."""
    for start in range(len(KEY) - PART + 1):
        for size in (PART, PART + 1, PART + 4):
            identity = f"r-{'x' * (start % 4)}{ENCODINGS[encoding](KEY[start : start + size])}"
            assert SECRETS.may_be_in(identity) or SECRETS.mask(identity) == identity, identity


def test_a_usual_id_is_not_masked():
    """Which would take much longer than to look at it."""
    usual = ["req_7f3a9c51d2e84b60a1c7e95f3b2d8846", "7f3a9c51-d2e8-4b60-a1c7-e95f3b2d8846", "req_011CSHoEeqs5C35K2UUqR7Fy"]
    assert [False] * 3 == [SECRETS.may_be_in(identity) for identity in usual]
    assert Secrets(["abc123"]).may_be_in("req-abc123 x") is False
    assert Secrets(["abc123"]).may_be_in("req abc123") is True


@each("field", ["x-request-id", "request-id"])
@each("encoding", ["plain", "upper case", "backwards", "percent", "base64", "hexadecimal"])
def test_the_id_of_a_call_holds_no_key(field, encoding, simulator):
    """Neither of a failed one nor of one that is answered."""
    identity = f"req-{ENCODINGS[encoding](KEY[4:16] if encoding != 'percent' else KEY)}"
    simulator.script(
        faults.Fault("echo", lambda peer, _context: peer.reply(400, _refusal("no"), (field, identity))),
        faults.Fault("echo", lambda peer, _context: peer.reply(200, ANSWER, (field, identity))),
        faults.Fault("usual", lambda peer, _context: peer.reply(200, ANSWER, (field, "req_7f3a9c51d2e84b60a1c7e95f3b2d8846"))),
    )
    refused = failure(simulator)
    made = OpenAIVendor(api_key=KEY, base_url=simulator.openai_url, trust_env=False)
    answered, usual = [made.send(Request("gpt-4o", "hi"), Deadline.after(30)).request_id for _ in range(2)]
    made.close()

    assert [] == parts(said(refused)) + parts(answered)
    assert ("req-***", "req_7f3a9c51d2e84b60a1c7e95f3b2d8846") == (answered.rstrip("="), usual)


ANSWER = json.dumps(
    {"id": "x", "model": "m", "choices": [{"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}]}
).encode()


@each(
    "headers, echo, hidden",
    [
        ({"X-Tenant-Secret": "TOPSECRETHEADER1"}, "X-Tenant-Secret: TOPSECRETHEADER1", "TOPSECRET"),
        ({"Authorization": "Bearer OTHERSECRET99999"}, "bad Authorization: Bearer OTHERSECRET99999", "OTHERSEC"),
        ({"Proxy-Authorization": "Basic " + _base64("user:passw0rd!")}, "user has passw0rd!", "passw0rd"),
        ({"X-Two": "first-secret second-secret"}, "second-secret is unknown", "second-s"),
    ],
)
def test_values_of_headers_are_masked(headers, echo, hidden, simulator):
    """They may be keys of gateways; the name of a scheme is none."""
    simulator.script(faults.status(401, message=f"{echo}; a Bearer is wanted"))
    told = said(failure(simulator, headers=headers))

    assert hidden not in told
    assert "a Bearer is wanted" in told


def test_headers_that_say_what_is_spoken_are_no_secrets(simulator):
    """An error about them needs their words."""
    simulator.script(faults.status(400, message="application/json and beta-2026-01-01 are unknown"))
    error = failure(simulator, headers={"Accept": "application/json", "OpenAI-Beta": "beta-2026-01-01"})

    assert "application/json and beta-2026-01-01 are unknown" == error.message


def test_what_an_error_means_is_judged_before_it_is_masked(simulator):
    """A key that is a word of the vendor's own does not change the kind of an error."""
    body = json.dumps({"error": {"message": "too long", "code": "context_length_exceeded"}}).encode()
    simulator.script(faults.Fault("long", lambda peer, _context: peer.reply(400, body)))
    error = failure(simulator, key="context_length_exceeded")

    assert ("ContextWindowExceeded", "***") == (type(error).__name__, error.code)
