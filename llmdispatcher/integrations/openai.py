"""A client of the shape of OpenAI's SDK over a dispatcher, so that existing code changes one line of imports.

```python
from llmdispatcher.integrations.openai import OpenAI     # was: from openai import OpenAI

client = OpenAI()                                        # the vendors of the environment; or OpenAI(dispatcher=...)
answer = client.chat.completions.create(model="claude-haiku-4-5", messages=[{"role": "user", "content": "Why?"}])
print(answer.choices[0].message.content)
```

There are ``chat.completions.create``, ``responses.create`` and ``embeddings.create``, the first two streamed too, and
``models.list``. Requests and answers are what OpenAI documents, whichever vendor answers; what a vendor has no place for is left
out. The errors are the library's own, under OpenAI's names, with the attributes that the SDK's have (``status_code``,
``response.headers``, ``body``, ``param``, ``type``). Any other part of the SDK raises ``AttributeError`` by its name.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from functools import partial
from types import MappingProxyType, SimpleNamespace
from typing import Any, Literal, NoReturn, Self

import attrs

from llmdispatcher import (
    AuthenticationError,
    BudgetExceeded,
    Config,
    ContentFiltered,
    DeadlineExceeded,
    Dispatcher,
    DispatchError,
    InvalidRequest,
    MalformedReply,
    ModelNotFound,
    OpenAIVendor,
    RateLimitError,
    StreamingResponse,
    VendorUnavailable,
)
from llmdispatcher.wire import EMBEDDING_CODECS, OPENAI_CHAT, OPENAI_RESPONSES, Codec, Inbound

APIError = OpenAIError = APIStatusError = DispatchError
APITimeoutError = DeadlineExceeded
APIConnectionError = InternalServerError = VendorUnavailable
BadRequestError = UnprocessableEntityError = InvalidRequest
NotFoundError = ModelNotFound
PermissionDeniedError = AuthenticationError
APIResponseValidationError = MalformedReply


class NotGiven:
    """The value of an argument that is left out of a request, as if it had not been written."""

    def __bool__(self) -> Literal[False]:
        return False

    def __repr__(self) -> str:
        return "NOT_GIVEN"


NOT_GIVEN = omit = NotGiven()
Omit = NotGiven

__all__ = [
    "NOT_GIVEN",
    "APIConnectionError",
    "APIError",
    "APIResponseValidationError",
    "APIStatusError",
    "APITimeoutError",
    "AuthenticationError",
    "BadRequestError",
    "BudgetExceeded",
    "ContentFiltered",
    "InternalServerError",
    "NotFoundError",
    "NotGiven",
    "Omit",
    "OpenAI",
    "OpenAIError",
    "PermissionDeniedError",
    "RateLimitError",
    "Record",
    "Stream",
    "UnprocessableEntityError",
    "omit",
]

_OPTIONAL = frozenset(
    {
        *("annotations", "audio", "code", "conversation", "error", "finish_reason", "function_call", "incomplete_details"),
        *("instructions", "logprobs", "max_output_tokens", "metadata", "param", "parsed", "previous_response_id", "prompt"),
        *("reasoning", "reasoning_content", "refusal", "role", "service_tier", "status", "system_fingerprint", "tool_calls"),
        *("tool_choice", "type", "usage", "content"),
    }
)
"""Fields that the SDK's objects have as ``None`` where a server did not send them."""
_UNSENT_STATUSES: Mapping[type[DispatchError], int] = {InvalidRequest: 400, ModelNotFound: 404, BudgetExceeded: 429}
"""What a vendor would have answered to a request that was refused before it was sent."""


class Record(dict[str, Any]):
    """An object of the API: its fields are attributes and keys; ``model_dump()`` gives plain dicts."""

    def __getattr__(self, name: str) -> Any:
        if name in self:
            return self[name]
        if name in _OPTIONAL:
            return None
        raise AttributeError(f"{self.get('object', 'this object')!r} has no {name!r}; it has {', '.join(self)}")

    @property
    def output_text(self) -> str:
        """The texts of a response of the Responses API, joined."""
        if "output" not in self:
            raise AttributeError("only a response of the Responses API has 'output_text'")
        texts = [part.get("text", "") for item in self["output"] if item.get("type") == "message" for part in item["content"]]
        return "".join(texts)

    def model_dump(self, *, exclude_none: bool = False, **_: Any) -> dict[str, Any]:
        """Return plain dicts and lists."""
        plain: dict[str, Any] = json.loads(json.dumps(self))
        return {name: value for name, value in plain.items() if value is not None} if exclude_none else plain

    to_dict = model_dump

    def model_dump_json(self, *, indent: int | None = None, **_: Any) -> str:
        """Return JSON."""
        return json.dumps(self, indent=indent)

    to_json = model_dump_json


class Page(Record):
    """A list of the API; iterating it gives its objects."""

    def __iter__(self) -> Iterator[Any]:
        return iter(self["data"])


class Stream:
    """The events of a streamed answer, as objects; closing it stops the vendor."""

    def __init__(self, stream: StreamingResponse, codec: Codec, asked: Inbound) -> None:
        self._stream = stream
        self._events = _events(stream, codec, asked)

    def __iter__(self) -> Iterator[Record]:
        return self._events

    def __next__(self) -> Record:
        return next(self._events)

    def close(self) -> None:
        """Stop the vendor; idempotent."""
        self._stream.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _events(stream: StreamingResponse, codec: Codec, asked: Inbound) -> Iterator[Record]:
    writer = codec.writer(asked)
    with _errors(), closing(stream):
        for chunk in stream:
            yield from _records(writer.write(chunk))
        yield from _records(writer.end())


def _records(events: bytes) -> Iterator[Record]:
    for line in events.split(b"\n"):  # and not splitlines(): a text may hold any other line end
        if line.startswith(b"data: {"):
            yield _record(line.removeprefix(b"data: "))


def _record(text: str | bytes) -> Record:
    made: Record = json.loads(text, object_hook=Record)
    return made


@contextmanager
def _errors() -> Iterator[None]:
    """Give an error the attributes that handlers of the SDK's errors read."""
    try:
        yield
    except DispatchError as error:
        facts = {"retry-after": error.retry_after, "x-request-id": error.request_id}
        headers = {name: f"{fact}" for name, fact in facts.items() if fact is not None}
        status = error.status if error.status is not None else _UNSENT_STATUSES.get(type(error))
        answer = SimpleNamespace(status_code=status, headers=headers)
        vars(error).update(status_code=status, response=answer, body=None, param=None, type=error.code)
        raise


class OpenAI:
    """The client. ``dispatcher`` is used as it is, and left open by :meth:`close`.

    Without it one is made: with ``api_key`` or ``base_url`` of that one OpenAI-compatible vendor, else of those in the environment.
    ``timeout`` is the seconds of a whole call, ``max_retries`` the retries in it; both are settings of a dispatcher that is made
    here.
    """

    def __init__(
        self,
        *,
        dispatcher: Dispatcher | None = None,
        api_key: str | None = None,
        base_url: str | None = None,
        timeout: float | None = None,
        max_retries: int | None = None,
    ) -> None:
        self._own = dispatcher is None
        self._timeout: float | None = None
        self.dispatcher = dispatcher or _dispatcher(api_key, base_url, timeout, max_retries)
        self.chat = _Part("chat", completions=_Part("chat.completions", create=self._chat))
        self.responses = _Part("responses", create=self._responses)
        self.embeddings = _Part("embeddings", create=self._embeddings)
        self.models = _Part("models", list=self._models)

    def __getattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"llmdispatcher's client has no {name!r}; it has chat, responses, embeddings and models")

    def with_options(self, *, timeout: float | None = None) -> OpenAI:
        """Return a client of the same dispatcher, with another ``timeout`` of its calls."""
        made = OpenAI(dispatcher=self.dispatcher)
        made._timeout = timeout if timeout is not None else self._timeout
        return made

    def close(self) -> None:
        """Close the dispatcher that was made here."""
        if self._own:
            self.dispatcher.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _chat(self, **fields: Any) -> Record | Stream:
        return self._ask(OPENAI_CHAT, fields)

    def _responses(self, **fields: Any) -> Record | Stream:
        return self._ask(OPENAI_RESPONSES, fields)

    def _ask(self, codec: Codec, fields: dict[str, Any]) -> Record | Stream:
        with _errors():
            timeout, headers, body = self._body(fields)
            asked = codec.read_request(body)
            if headers:
                asked = attrs.evolve(asked, request=attrs.evolve(asked.request, headers=headers))
            if asked.stream:
                return Stream(self.dispatcher.send_streaming(asked.request, timeout=timeout), codec, asked)
            return _record(codec.write_response(self.dispatcher.send(asked.request, timeout=timeout), asked))

    def _embeddings(self, **fields: Any) -> Record:
        with _errors():
            timeout, headers, body = self._body({**fields, "encoding_format": "float"})
            codec = EMBEDDING_CODECS[OPENAI_CHAT.name]
            asked = codec.read_request(body)
            further = {name: value for name, value in asked.extra_params.items() if name != "encoding_format"}
            if "input" in further:
                raise InvalidRequest("input: tokens are not taken, since each vendor has its own; give a text or a list of texts")
            vectors = partial(self.dispatcher.embed, asked.model, asked.texts, timeout=timeout, headers=headers)
            found = vectors(dimensions=asked.dimensions, user=asked.user, extra_params=further)
            return _record(codec.write_response(found, asked))

    def _body(self, fields: dict[str, Any]) -> Sent:
        timeout, headers, body = _body(fields)
        return timeout if timeout is not None else self._timeout, headers, body

    def _models(self, **_: Any) -> Page:
        vendors = self.dispatcher.get_vendors()
        with _errors():
            names = [(name, model) for name in vendors for model in self.dispatcher.list_models(name)]
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
        raise AttributeError(f"llmdispatcher's client has no {self._name}.{name}; it has {self._name}.{', '.join(members)}")


Sent = tuple[float | None, Mapping[str, str] | None, bytes]


def _body(fields: dict[str, Any]) -> Sent:
    """The timeout of a call, its own headers, and its body as it would have been sent."""
    fields = {name: value for name, value in fields.items() if not _is_omitted(value)}
    if fields.pop("extra_query", None):
        raise InvalidRequest("extra_query: the dispatcher chooses who is asked, and how; leave it out")
    headers = fields.pop("extra_headers", None) or None
    timeout, further = fields.pop("timeout", None), fields.pop("extra_body", None) or {}
    try:
        return timeout, headers, json.dumps({**fields, **further}, default=_plain, allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidRequest(f"the request is no JSON: {error}") from None


def _is_omitted(value: Any) -> bool:
    return type(value).__name__ in ("NotGiven", "Omit")


def _plain(value: Any) -> Any:
    """What JSON can hold of an object of the SDK or of Pydantic."""
    if hasattr(value, "model_dump"):
        return value.model_dump(exclude_none=True)
    if isinstance(value, Iterator):
        return list(value)
    raise TypeError(f"{type(value).__name__} is no JSON; give dicts, lists, texts and numbers")


def _dispatcher(api_key: str | None, base_url: str | None, timeout: float | None, max_retries: int | None) -> Dispatcher:
    settings: dict[str, Any] = {"timeout": timeout} if timeout is not None else {}
    if max_retries is not None:
        settings["retry_policy"] = {"max_retries": max_retries}
    if api_key is None and base_url is None:
        return Dispatcher.from_env(Config(**settings))
    made = Dispatcher(Config(**settings))
    made.register_vendor(OpenAIVendor(api_key=api_key, base_url=base_url))
    return made
