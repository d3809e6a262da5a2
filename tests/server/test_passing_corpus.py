"""Recorded sessions with vendors through the gateway: no difference at either end."""

from __future__ import annotations

import json
import re
from typing import Any

import attrs
import pytest
import requests

from llmdispatcher import AnthropicVendor, Config, Dispatcher, GoogleVendor, HttpVendor, OpenAIVendor
from llmdispatcher.server import GatewaySettings, create_app
from llmdispatcher.server.kept_ids import KeptIds, references_in

from ..conftest import PATIENCE
from ..wire.corpus import exchanges, needs_corpus
from .conftest import serving
from .upstream import Upstream, streamed, upstream, whole

PLACES = {
    "chat_completions": ("/v1/chat/completions", "openai"),
    "responses": ("/v1/responses", "openai"),
    "messages": ("/v1/messages", "anthropic"),
    "ollama_chat": ("/api/chat", "ollama"),
}
GOOGLE = re.compile(r"models/([^:/?]+):(\w+)")


@attrs.frozen
class Session:
    """One exchange: the path and body of a client, the body that its vendor should get, the bytes of the answer."""

    id: str
    path: str
    asked: bytes
    sent: dict[str, Any]
    said: bytes
    is_stream: bool
    is_lines: bool = False

    @property
    def asks_usage(self) -> bool:
        """Whether the gateway asks for the usage of a stream in the client's place."""
        options = self.sent.get("stream_options")
        return self.path.endswith("/completions") and self.is_stream and not (options or {}).get("include_usage")


def sessions(api: str) -> list[Session]:
    """Those of one API that its vendor answered, and whose request was recorded."""
    found = [one for (name, _vendor), listed in exchanges().items() if name == api for one in listed]
    return [made for one in found if one["response"]["status"] == 200 and (made := session_of(api, one)) is not None]


def session_of(api: str, exchange: dict[str, Any]) -> Session | None:
    """An exchange as a session; ``None`` for one without its request."""
    sent, answer = exchange["request"].get("json"), exchange["response"]
    said = answer["text"].encode() if "text" in answer else json.dumps(answer["json"]).encode()
    if not isinstance(sent, dict):
        return None
    if api not in PLACES:
        place = GOOGLE.search(exchange["request"]["path"])
        if place is None:
            return None
        is_stream = place[2].startswith("stream")
        path = f"/v1beta/models/google:{place[1]}:{place[2]}{'?alt=sse' if is_stream else ''}"
        return Session(exchange["id"], path, json.dumps(sent).encode(), sent, said, is_stream)
    path, vendor = PLACES[api]
    if not sent.get("model"):
        return None
    is_lines = api == "ollama_chat" and sent.get("stream", True)
    is_stream = is_lines or bool(sent.get("stream"))
    asked = json.dumps({**sent, "model": f"{vendor}:{sent['model']}"}).encode()
    return Session(exchange["id"], path, asked, sent, said, is_stream, is_lines)


def is_same_answer(session: Session, got: bytes) -> bool:
    """Whether the bytes came back: all of them, but for the usage that the client had not asked for."""
    if got == session.said:
        return True
    events = re.split(rb"(?<=\n\n)", session.said.replace(b"\r\n", b"\n"))
    return session.asks_usage and got.replace(b"\r\n", b"\n") == b"".join(
        [e for e in events if b'"choices":[]' not in e.replace(b" ", b"")]
    )


def is_same_request(session: Session, heard: bytes) -> bool:
    """Whether the vendor got the body, but for the user's name and the wish for usage."""
    sent, got = dict(session.sent), json.loads(heard)
    if session.asks_usage:
        sent["stream_options"] = {**(sent.get("stream_options") or {}), "include_usage": True}
    for one in (sent, got):
        one.pop("user", None), one.pop("prompt_cache_key", None)
        if isinstance(one.get("metadata"), dict):
            one["metadata"].pop("user_id", None)
    return sent == got and (sent != session.sent or json.dumps(sent).encode() == heard)


@needs_corpus
@pytest.mark.parametrize("api", [*PLACES, "generate_content", "stream_generate_content"])
def test_a_recorded_session_is_the_same_at_both_ends(keys, api):
    """Sixty from all of the recordings of an API.

    Those whose answer cannot be read are told as errors, and a list of Google's becomes a stream.
    """
    _, secret = keys.create("a test")
    every = sessions(api)
    listed = every[:: max(1, len(every) // 60)]
    changed, adapted, failed = [], [], []
    with upstream() as vendor, gateway_over(vendor, api) as dispatcher, requests.Session() as client:
        client.headers["Authorization"] = f"Bearer {secret}"
        app = create_app(dispatcher, keys=keys, settings=GatewaySettings(threads=8, stateful=True, cache_marks=False))
        with serving(app) as url:
            KeptIds(keys).add("default", {one for session in listed for one in references_in(session.sent)})
            for session in listed:
                vendor.heard.clear()
                vendor.answers = [streamed(session.said, lines=session.is_lines) if session.is_stream else whole(session.said)]
                got = client.post(url + session.path, data=session.asked, timeout=PATIENCE)
                heard = [one.body for one in vendor.heard]
                if got.status_code != 200 or not heard:
                    failed.append((session.id, got.status_code, got.text[:200]))
                elif not is_same_request(session, heard[-1]):
                    adapted.append((session.id, heard[-1][:300]))
                elif not is_same_answer(session, got.content) and not is_no_stream(session, got.content):
                    changed.append((session.id, got.content[-300:]))

    assert [] == changed
    assert len(adapted) + len(failed) <= len(listed) // 20, (adapted, failed)


def is_no_stream(session: Session, got: bytes) -> bool:
    """Whether the vendor answered otherwise than was asked, or told of a failure in its answer."""
    return session.is_stream and (session.said.lstrip()[:1] in (b"[", b"{") or b'"error"' in got[-2000:])


def gateway_over(vendor: Upstream, api: str) -> Dispatcher:
    """A vendor of its format, for any model."""
    made = Dispatcher(Config(retry_policy={"max_retries": 0}))
    if api == "ollama_chat":
        made.register_vendor(HttpVendor(kind="ollama", base_url=vendor.url, api_key="none", models=("*",)))
    elif api == "messages":
        made.register_vendor(AnthropicVendor(api_key="sk", base_url=vendor.url, models=("*",)))
    elif api in PLACES:
        made.register_vendor(OpenAIVendor(api_key="sk", base_url=f"{vendor.url}/v1", models=("*",)))
    else:
        made.register_vendor(GoogleVendor(api_key="sk", base_url=f"{vendor.url}/v1beta", models=("*",)))
    return made
