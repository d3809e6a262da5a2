"""The client: its parts and methods, and the dispatcher that it is made over."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from types import MappingProxyType
from typing import Any, NoReturn, Self

import attrs

from llmdispatcher import Config, ConfigError, Dispatcher, OpenAIVendor
from llmdispatcher.integrations.openai.arguments import (
    NOT_GIVEN,
    NotGiven,
    Sent,
    check_names,
    read_embedding,
    seconds_of,
    split,
    take_form,
)
from llmdispatcher.integrations.openai.errors import errors_of_sdk
from llmdispatcher.integrations.openai.records import (
    ChatCompletionStream,
    Page,
    Record,
    ResponseStream,
    Stream,
    parse_completion,
    parse_response,
    record,
)
from llmdispatcher.types import suggest
from llmdispatcher.wire import EMBEDDING_CODECS, OPENAI_CHAT, OPENAI_RESPONSES, Codec, Inbound

_ELSEWHERE: Mapping[str, str] = {
    "default_query": "give api_version to a vendor, and OpenAI(dispatcher=...)",
    "http_client": "give proxy and ca_bundle to a vendor, and OpenAI(dispatcher=...)",
}


@partial(suggest, remedies=_ELSEWHERE)
class OpenAI:
    """The client. ``dispatcher`` is used as it is, and left open by :meth:`close`.

    Without it one is made. ``api_key``, ``base_url``, ``organization``, ``project`` and ``default_headers`` are settings of one
    OpenAI-compatible vendor, which is then the only one; without any of them the vendors are those of the environment.
    ``max_retries`` is that of a dispatcher that is made here. ``timeout`` is the seconds of a whole call, or an ``httpx.Timeout``,
    whose longest counts; ``None`` is no limit, and without it the dispatcher's counts.
    """

    def __init__(  # noqa: PLR0913 - the SDK's settings, all by keyword
        self,
        *,
        dispatcher: Dispatcher | None = None,
        api_key: str | None = None,
        base_url: str | None = None,
        organization: str | None = None,
        project: str | None = None,
        default_headers: Mapping[str, str] | None = None,
        timeout: Any = NOT_GIVEN,
        max_retries: int | None = None,
    ) -> None:
        self._own = dispatcher is None
        self._settings: dict[str, Any] = {} if isinstance(timeout, NotGiven) else {"timeout": timeout}
        headers = {"OpenAI-Organization": organization, "OpenAI-Project": project, **(default_headers or {})}
        named = {name: text for name, text in headers.items() if text is not None} or None
        vendor = {"api_key": api_key, "base_url": base_url, "headers": named}
        with errors_of_sdk():
            given = {name: value for name, value in vendor.items() if value is not None}
            self.dispatcher = _dispatcher(dispatcher, given, max_retries)
        self.chat = _Part("chat", completions=self._part("chat.completions", OPENAI_CHAT))
        self.beta = _Part("beta", chat=self.chat)
        self.responses = self._part("responses", OPENAI_RESPONSES)
        self.embeddings = _Part("embeddings", create=self._embed)
        self.models = _Part("models", list=self._list_models)

    def __getattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"llmdispatcher's client has no {name!r}; it has chat, responses, embeddings and models")

    @partial(suggest, remedies={"max_retries": "give it to the client: OpenAI(max_retries=...)"})
    def with_options(self, *, timeout: Any = NOT_GIVEN) -> OpenAI:
        """Return a client of the same dispatcher, with another ``timeout`` of its calls; ``None`` is no limit."""
        made = OpenAI(dispatcher=self.dispatcher)
        made._settings = self._settings if isinstance(timeout, NotGiven) else {"timeout": timeout}
        return made

    copy = with_options

    def close(self) -> None:
        """Close the dispatcher that was made here."""
        if self._own:
            self.dispatcher.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _part(self, name: str, codec: Codec) -> _Part:
        ways = {"create": self._create, "parse": self._parse, "stream": self._stream}
        return _Part(name, **{way: partial(ask, name, codec) for way, ask in ways.items()})

    def _create(self, part: str, codec: Codec, /, **fields: Any) -> Record | Stream:
        check_names(part, "create", fields)
        with errors_of_sdk():
            settings, asked = self._read(codec, fields)
            if asked.stream:
                return Stream(self.dispatcher.send_streaming(asked.request, **settings), codec, asked)
            return record(codec.write_response(self.dispatcher.send(asked.request, **settings), asked))

    def _parse(self, part: str, codec: Codec, /, **fields: Any) -> Record:
        form = take_form(part, "parse", fields)
        with errors_of_sdk():
            settings, asked = self._read(codec, fields, form)
            answer = record(codec.write_response(self.dispatcher.send(asked.request, **settings), asked))
        return parse_completion(answer, form) if codec is OPENAI_CHAT else parse_response(answer, form)

    def _stream(self, part: str, codec: Codec, /, **fields: Any) -> ChatCompletionStream | ResponseStream:
        form = take_form(part, "stream", fields)
        with errors_of_sdk():
            settings, asked = self._read(codec, fields, form)
            made = ChatCompletionStream if codec is OPENAI_CHAT else ResponseStream
            return made(self.dispatcher.send_streaming(asked.request, **settings), codec, asked, form)

    def _read(self, codec: Codec, fields: Mapping[str, Any], form: Any = None) -> tuple[dict[str, Any], Inbound]:
        """The settings of a call, and its request, whose answer has the form of the class ``form``."""
        settings, headers, body = self._split(fields)
        asked = codec.read_request(body)
        changes: dict[str, Any] = {"headers": headers} if headers is not None else {}
        if form is not None:
            changes["response_format"] = form
        return settings, attrs.evolve(asked, request=attrs.evolve(asked.request, **changes)) if changes else asked

    def _embed(self, **fields: Any) -> Record:
        check_names("embeddings", "create", fields)
        with errors_of_sdk():
            settings, headers, body = self._split({**fields, "encoding_format": "float"})
            asked = read_embedding(body)
            facts: dict[str, Any] = {
                "dimensions": asked.dimensions,
                "user": asked.user,
                "extra_params": asked.extra_params,
                "headers": headers,
            }
            found = self.dispatcher.embed(asked.model, asked.texts, **facts, **settings)
            return record(EMBEDDING_CODECS[OPENAI_CHAT.name].write_response(found, asked))

    def _split(self, fields: Mapping[str, Any]) -> Sent:
        settings, headers, body = split(fields)
        limits = {name: seconds_of(value) for name, value in {**self._settings, **settings}.items()}
        return {name: math.inf if value is None else value for name, value in limits.items()}, headers, body

    def _list_models(self, **fields: Any) -> Page:
        check_names("models", "list", fields)
        vendors = self.dispatcher.get_vendors()
        with errors_of_sdk():
            settings, _headers, _body = self._split(fields)
            names = [(name, model) for name in vendors for model in self.dispatcher.list_models(name, **settings)]
        return Page(object="list", data=[Record(id=model, object="model", owned_by=name) for name, model in names])


class _Part:
    """A part of the client; what it lacks is told by its whole name."""

    def __init__(self, name: str, **members: Any) -> None:
        self._name = name
        self._members = MappingProxyType(members)

    def __getattr__(self, name: str) -> Any:
        members: Mapping[str, Any] = vars(self).get("_members", {})
        if name in members:
            return members[name]
        own = vars(self).get("_name", "part")
        raise AttributeError(f"llmdispatcher's client has no {own}.{name}; it has {own}.{f', {own}.'.join(members)}")


def _dispatcher(given: Dispatcher | None, vendor: Mapping[str, Any], max_retries: int | None) -> Dispatcher:
    if given is not None:
        unfit = next(iter(vendor), "max_retries" if max_retries is not None else None)
        if unfit is not None:
            raise ConfigError(
                f"{unfit}: the dispatcher that is given has settings of its own; leave it out, or leave out dispatcher="
            )
        return given
    config = Config(retry_policy={} if max_retries is None else {"max_retries": max_retries})
    if not vendor:
        return Dispatcher.from_env(config)
    made = Dispatcher(config)
    made.register_vendor(OpenAIVendor(**vendor))
    return made
