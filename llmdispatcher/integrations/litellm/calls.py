"""LiteLLM's calls over the dispatcher: ``completion``, ``text_completion``, ``embedding``, their streams, retries and fallbacks."""

from __future__ import annotations

import json
import queue
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence, Set
from contextlib import suppress
from itertools import count
from typing import Any, NoReturn, Self, cast

import attrs

from llmdispatcher import (
    ChannelClosed,
    ConfigError,
    Deadline,
    DeadlineExceeded,
    DispatchError,
    HttpVendor,
    Request,
    Response,
    StreamChunk,
    StreamingResponse,
    Usage,
)
from llmdispatcher.catalog import price_at, vendor_row
from llmdispatcher.integrations.openai.arguments import read_embedding, to_json
from llmdispatcher.runtime import Clock, fan_out, new_id
from llmdispatcher.types import Secret, cost_of, unfold
from llmdispatcher.wire import EMBEDDING_CODECS, OPENAI_CHAT, Inbound

from .answers import BaseResponse, EmbeddingResponse, ModelResponse, ModelResponseStream, TextCompletionResponse
from .costs import check_prices, price_of, refused_params
from .events import Event
from .exceptions import NAMES, LiteLLMFacts, exception_class, exception_of
from .providers import Endpoints, Place, ProviderModel, place_of, target_of
from .settings import SETTINGS

OWN = frozenset(
    {
        *("additional_drop_params", "allowed_openai_params", "api_base", "api_key", "api_version", "base_model", "base_url"),
        *("cache", "caching", "callbacks", "content_policy_fallbacks", "context_window_fallback_dict", "context_window_fallbacks"),
        *(
            "cooldown_time",
            "custom_llm_provider",
            "default_fallbacks",
            "deployment_headers",
            "disable_fallbacks",
            "drop_params",
            "extra_headers",
        ),
        *("failure_callback", "fallbacks", "force_timeout", "headers", "id", "input_cost_per_token", "litellm_call_id"),
        *("litellm_metadata", "litellm_session_id", "litellm_trace_id", "max_parallel_requests", "max_retries", "metadata"),
        *("mock_response", "mock_timeout", "mock_tool_calls", "model_info", "no-log", "num_retries", "order", "organization"),
        *("output_cost_per_token", "cache_read_input_token_cost", "cache_creation_input_token_cost", "request_timeout"),
        *("retry_strategy", "rpm", "stream_timeout", "success_callback", "tags", "timeout", "tpm", "ttl", "verbose", "weight"),
        *("max_budget", "budget_duration", "use_in_pass_through", "allowed_fails", "mock_testing_fallbacks"),
        *("mock_testing_context_fallbacks", "mock_testing_content_policy_fallbacks", "enable_json_schema_validation"),
    }
)
"""LiteLLM's own arguments, whether they have an effect here or none; any other is sent to the vendor."""
_ELSEWHERE: Mapping[str, str] = {
    **dict.fromkeys(("acompletion", "aembedding", "atext_completion"), "call from threads; there is no event loop here"),
    **dict.fromkeys(("client", "shared_session"), "connections are the dispatcher's; give api_base, headers and timeout"),
    **dict.fromkeys(
        ("aws_access_key_id", "aws_secret_access_key", "aws_session_token", "aws_region_name", "aws_profile_name", "aws_role_name"),
        "give the bearer token of Bedrock as api_key, or AWS_BEARER_TOKEN_BEDROCK, and the region as AWS_REGION",
    ),
    **dict.fromkeys(
        ("vertex_project", "vertex_location", "vertex_credentials", "vertex_ai_project", "vertex_ai_location"),
        "set GOOGLE_CLOUD_PROJECT, GOOGLE_CLOUD_LOCATION and give the access token as api_key",
    ),
    **dict.fromkeys(("azure_ad_token", "azure_ad_token_provider"), "use llmdispatcher.AzureOpenAIVendor with api_key=function"),
    **dict.fromkeys(("prompt_id", "prompt_variables", "prompt_label"), "give the messages"),
    **dict.fromkeys(("guardrails", "guardrail_config"), "give configure(guards=[...]), docs/structured.md"),
    **dict.fromkeys(
        ("custom_prompt_dict", "initial_prompt_value", "final_prompt_value", "roles", "bos_token", "eos_token", "hf_model_name"),
        "the server has the template",
    ),
    **dict.fromkeys(("best_of", "echo", "suffix"), "texts are asked for by chat, which has no place for it"),
    "api_type": "name the vendor in the model: 'azure/...'",
    "deployment_id": "name it in the model: 'azure/deployment'",
    "extra_query": "give api_version",
    "input_cost_per_second": "prices are by the token: input_cost_per_token",
    "logger_fn": "give input_callback, success_callback or failure_callback",
    "model_list": "use Router(model_list=...)",
    "ssl_verify": "set SSL_CERT_FILE",
}
"""LiteLLM's arguments that are refused, each with what to do instead."""
_OPENAI = (
    *("audio", "logit_bias", "modalities", "prediction", "prompt_cache_retention", "safety_identifier", "store", "verbosity"),
    "web_search_options",
)
"""OpenAI's parameters that no other format has a place for; what is neither these nor a field of a request is a vendor's own."""
_RETRIES = 2
_LONGEST_WAIT = 60.0
_TIMEOUT = 600.0
"""Seconds of a whole answer where nothing is said; a stream may last, as long as its pieces come."""
_MOCK_USAGE = Usage(input_tokens=10, output_tokens=20)


@attrs.frozen
class CallArguments:
    """The arguments of a call: ``fields`` are the vendor's, ``own`` are LiteLLM's."""

    fields: Mapping[str, Any] = attrs.field(repr=False)
    own: Mapping[str, Any] = attrs.field(repr=False)

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> CallArguments:
        """Sort them. Raises ``BadRequestError`` that names an argument which is not there, with what to do instead."""
        given = {name: value for name, value in given.items() if value is not None and type(value).__name__ not in _NOT_GIVEN}
        for name, remedy in _ELSEWHERE.items():
            if given.get(name):
                raise exception_class("BadRequestError")(f"{name}: it is not there; {remedy}", str(given.get("model")), None)
        own = {name: value for name, value in given.items() if name in OWN}
        for name, value in own.items():
            kinds, wanted = _KINDS.get(name, (object, ""))
            if kinds is not object and (not isinstance(value, kinds) or isinstance(value, bool | str)):
                raise exception_class("BadRequestError")(
                    f"{name}: {type(value).__name__} is not allowed here; give {wanted}", str(given.get("model")), None
                )
        if isinstance(own.get("api_key"), str):
            own["api_key"] = Secret(own["api_key"])  # which no repr shows, in a report of a crash neither
        left_out = {*OWN, *_ELSEWHERE, *own.get("additional_drop_params", ())}
        return cls({name: value for name, value in given.items() if name not in left_out}, own)


_LISTS = (Iterator, Sequence, Set)
"""What is sent as a list."""
_NOT_GIVEN = ("NotGiven", "Omit")
_KINDS: Mapping[str, tuple[Any, str]] = {
    **dict.fromkeys(("metadata", "litellm_metadata", "headers", "extra_headers", "model_info"), (Mapping, "a dict")),
    **dict.fromkeys(("tags", "fallbacks", "additional_drop_params", "context_window_fallbacks"), (Sequence, "a list")),
    **dict.fromkeys(("content_policy_fallbacks", "mock_tool_calls"), (Sequence, "a list")),
    **dict.fromkeys(("num_retries", "max_retries"), (int, "a whole number")),
    "context_window_fallback_dict": (Mapping, "a dict"),
}
"""What some arguments must be."""


def seconds_of(value: Any) -> float | None:
    """The seconds of a timeout: a number, a text of one, or an ``httpx.Timeout``, of which the time for reading counts."""
    if value is not None and hasattr(value, "read") and hasattr(value, "connect"):
        value = value.read
    try:
        seconds = None if value is None else float(value)
    except (TypeError, ValueError):
        seconds = -1.0
    if seconds is not None and not seconds > 0:
        raise exception_class("BadRequestError")(f"timeout: {value!r} is not a number of seconds > 0", None, None)
    return seconds


class ProviderCall:
    """One question to one vendor, with its callbacks; made anew for each retry.

    ``tell`` is called once when it has ended: with the answer, the exception, or ``None`` where it was given up.
    """

    def __init__(
        self,
        call_type: str,
        model: str,
        given: CallArguments,
        endpoints: Endpoints,
        *,
        deployment: str = "",
        tell: Callable[[BaseResponse | DispatchError | None], None] = lambda _ending: None,
    ) -> None:
        self.given = given
        self._tell: Callable[[BaseResponse | DispatchError | None], None] | None = tell
        self.endpoints = endpoints
        self.call_type = call_type
        self.model = model
        self.target: ProviderModel = target_of(model, given.own.get("custom_llm_provider"))
        check_prices({**(given.own.get("model_info") or {}), **given.own})
        self.streamed = bool(given.fields.get("stream")) and call_type != "embedding"
        self.place: Place = place_of(self.target, given.own, deployment=deployment)
        self.id = str(given.own.get("litellm_call_id") or new_id(endpoints.clock))
        self.event = Event(self._details(), given.own, endpoints.clock)

    def _timeout(self) -> Any:
        own = self.given.own
        return own.get("timeout") or own.get("request_timeout") or SETTINGS.request_timeout

    def _details(self) -> dict[str, Any]:
        """What callbacks get as ``kwargs``."""
        own, fields = self.given.own, self.given.fields
        texts = fields.get("messages", fields.get("prompt", fields.get("input")))
        metadata = metadata_of(own)
        return {
            "model": self.target.model,
            "messages": texts,
            "input": texts,
            "optional_params": {name: value for name, value in fields.items() if name not in ("messages", "prompt", "input")},
            "litellm_params": {
                "metadata": metadata,
                "model_info": own.get("model_info"),
                "api_base": self.place.base_url,
                "custom_llm_provider": self.target.provider,
                "litellm_call_id": self.id,
                "drop_params": own.get("drop_params"),
            },
            "metadata": metadata,
            "custom_llm_provider": self.target.provider,
            "litellm_call_id": self.id,
            "call_type": self.call_type,
            "stream": self.streamed,
            "user": fields.get("user"),
            "cache_hit": None,
            "additional_args": {},
        }

    def run(self) -> Any:
        """Ask, and return the answer, or the stream when its first piece is there. Raises LiteLLM's exceptions."""
        try:
            check_spent()
            self.event.before()
            mocked = self.given.own.get("mock_response")
            if mocked is not None or self.given.own.get("mock_tool_calls") or self.given.own.get("mock_timeout"):
                return self._mock(mocked)
            return self._embed() if self.call_type == "embedding" else self._stream() if self.streamed else self._ask()
        except DispatchError as error:
            made = self._failed(error)
            if made is error:
                raise
            raise made from error
        except BaseException:
            self._end(None)
            raise

    def _end(self, ending: BaseResponse | DispatchError | None) -> None:
        tell, self._tell = self._tell, None
        if tell is not None:
            tell(ending)

    def _failed(self, error: DispatchError, name: str | None = None) -> DispatchError:
        row = vendor_row(self.target.row)
        if isinstance(error, ConfigError) and (self.place.api_key is not None or (row is not None and row.keyless)):
            name = "BadRequestError"  # no key is missing, so it is the address, or another setting
        made = exception_of(error, self.target.model, self.target.provider, name)
        self.event.failed(made)
        self._end(made)
        return made

    def _vendor(self) -> tuple[Any, HttpVendor]:
        return self.endpoints.find(self.place)

    def _headers(self) -> dict[str, str] | None:
        """The headers of this call alone, without those that its deployment has already."""
        own = self.given.own
        taken = {name.lower() for name, _text in self.place.headers}
        given = {**(own.get("headers") or {}), **(own.get("extra_headers") or {})}
        return {str(name): str(text) for name, text in given.items() if str(name).lower() not in taken} or None

    def _inbound(self) -> Inbound:
        return read_chat(self.given.fields, self.target.model)

    def _request(self, asked: Inbound, vendor: HttpVendor) -> Request:
        """The request as the vendor gets it. Raises ``UnsupportedParamsError`` for what it cannot take, unless that is dropped."""
        own = self.given.own
        drop = bool(own.get("drop_params", SETTINGS.drop_params))
        row = vendor_row(self.target.row)
        native = row is not None and row.codec == OPENAI_CHAT.name
        request, further = asked.request, dict(asked.request.extra_params)
        if native and request.top_k is not None:  # no parameter of OpenAI's, but of servers that speak its format
            further["top_k"] = request.top_k
            request = attrs.evolve(request, top_k=None, extra_params=further)
        foreign = [] if native else [name for name in _OPENAI if further.pop(name, None) is not None]
        plain = attrs.evolve(
            request, model=self.target.model, wire_format=None, drop_params=drop, extra_params={} if native else further
        )
        objection = "" if drop else self._objection(foreign) or vendor.objection(plain)
        if objection:
            raise exception_class("UnsupportedParamsError")(
                f"{objection}; to leave it out, set litellm.drop_params = True", self.target.provider, self.target.model
            )
        form = request.response_format is not None and not further
        metadata = {str(name): value for name, value in metadata_of(own).items() if isinstance(value, str | int | float | bool)}
        return attrs.evolve(
            request if native or form else plain,  # else what this vendor alone knows would not be sent
            model=f"{vendor.name}:{self.target.model}",
            metadata=metadata,
            headers=self._headers(),
            drop_params=drop,
            cache=self._cache(),
        )

    def _objection(self, foreign: Sequence[str]) -> str:
        """Why the model does not take one of the arguments; empty where none is known."""
        fields = self.given.fields
        given = [
            name for name in fields if name in refused_params(self.target) and not (name == "temperature" and fields[name] == 1)
        ]
        if foreign:
            return f"{foreign[0]}: it is OpenAI's alone"
        return f"{given[0]}: {self.target.model} does not take it" if given else ""

    def _cache(self) -> Any:
        own, cache = self.given.own, SETTINGS.cache
        wish = own.get("cache")
        wish = wish if isinstance(wish, Mapping) else {}
        if cache is None or wish.get("no-cache") or wish.get("no-store") or own.get("caching") is False:
            return False if cache is not None else None
        seconds = wish.get("ttl") or own.get("ttl") or cache.ttl
        return {"enabled": True, "ttl_seconds": seconds} if seconds else True

    def _ask(self) -> BaseResponse:
        dispatcher, vendor = self._vendor()
        asked = self._inbound()
        seconds = seconds_of(self._timeout()) or _TIMEOUT
        response = dispatcher.send_to_vendor(vendor.name, self._request(asked, vendor), timeout=seconds)
        return self._done(response, asked)

    def _done(self, response: Response, asked: Inbound, *, streamed: bool = False) -> BaseResponse:
        remembered = response.trace is not None and response.trace.cached
        cost = 0.0 if remembered else self._cost(response.usage)
        self.event.details["cache_hit"] = remembered or None
        kind = TextCompletionResponse if self.call_type == "text_completion" else ModelResponse
        made = self._finish(kind(**self._document(OPENAI_CHAT.write_response(response, asked))), cost)
        return self._heard(made, cost, streamed=streamed)

    def _heard(self, made: BaseResponse, cost: float | None, *, streamed: bool = False) -> BaseResponse:
        """Tell the callbacks, and the router, of an answer."""
        self.event.succeeded(made, cost, streamed=streamed)
        self._end(made)
        return made

    def _document(self, body: bytes) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(body)
        if self.call_type == "text_completion":
            document["choices"] = [_as_text(choice) for choice in document.get("choices") or ()]
        return document

    def _finish(self, made: BaseResponse, cost: float | None) -> BaseResponse:
        milliseconds = self.event.seconds() * 1000
        made._response_ms = milliseconds
        made._hidden_params.update(
            {
                "custom_llm_provider": self.target.provider,
                "litellm_model_name": self.model,
                "litellm_call_id": self.id,
                "response_cost": cost,
                "model_id": (self.given.own.get("model_info") or {}).get("id"),
                "api_base": self.place.base_url,
                "additional_headers": {},
                "cache_hit": self.event.details["cache_hit"],
                "_response_ms": milliseconds,
            }
        )
        return made

    def _cost(self, usage: Usage) -> float | None:
        """US dollars; of the price that the call, the deployment or ``register_model`` says, else what the dispatcher found."""
        price = price_of(self.target, {**(self.given.own.get("model_info") or {}), **self.given.own})
        if price is None and usage.cost is None and self.given.own.get("mock_response") is not None:
            price, _version = price_at(self.target.row, self.target.model)
        if price is None and self.target.row == "local":
            return None
        found = cost_of(usage, price, at=self.endpoints.clock.now()) if price is not None else usage.cost
        return None if found is None else float(found)

    def _stream(self) -> CustomStreamWrapper:
        silence = seconds_of(self.given.own.get("stream_timeout") or self._timeout())
        dispatcher, vendor = self._vendor()
        asked = self._inbound()
        stream = dispatcher.send_streaming_to_vendor(vendor.name, self._request(asked, vendor))
        return self._wrap(_within(stream, silence), stream.response, asked, stream.close)

    def _wrap(
        self, chunks: Iterable[StreamChunk], whole: Callable[[], Response], asked: Inbound, close: Callable[[], None]
    ) -> CustomStreamWrapper:
        pieces = self._pieces(chunks, whole, asked, close)
        first = next(pieces, None)
        hidden = {"custom_llm_provider": self.target.provider, "litellm_call_id": self.id, "api_base": self.place.base_url}
        model_id = (self.given.own.get("model_info") or {}).get("id")
        return CustomStreamWrapper(first, pieces, close, {**hidden, "model_id": model_id, "response_cost": None})

    def _pieces(
        self, chunks: Iterable[StreamChunk], whole: Callable[[], Response], asked: Inbound, close: Callable[[], None]
    ) -> Generator[BaseResponse]:
        """The pieces of a stream. The callbacks hear of its end before the last of them is read."""
        writer = OPENAI_CHAT.writer(asked)
        started = False
        try:
            for chunk in chunks:
                for piece in self._read(writer.write(chunk)):
                    started = True
                    yield piece
            done = self._done(whole(), asked, streamed=True)
        except DispatchError as error:
            if not started:
                raise  # it is the call that fails, and may be tried again
            raise self._failed(error) from error
        finally:
            close()
            if started:
                self._end(None)  # where it was given up
        for piece in self._read(writer.end()):
            piece._hidden_params.update(done._hidden_params)
            yield piece

    def _read(self, events: bytes) -> Iterator[BaseResponse]:
        kind = TextCompletionResponse if self.call_type == "text_completion" else ModelResponseStream
        for line in events.split(b"\n"):
            if line.startswith(b"data: {"):
                piece = kind(**self._document(line.removeprefix(b"data: ")))
                self.event.piece(piece)
                yield piece

    def _embed(self) -> BaseResponse:
        dispatcher, vendor = self._vendor()
        asked = read_embedding(to_json({**self.given.fields, "model": self.target.model, "encoding_format": "float"}, _LISTS))
        found = dispatcher.embed(
            f"{vendor.name}:{self.target.model}",
            asked.texts,
            timeout=seconds_of(self._timeout()) or _TIMEOUT,
            dimensions=asked.dimensions,
            user=asked.user,
            extra_params=asked.extra_params,
            headers=self._headers(),
            drop_params=bool(self.given.own.get("drop_params", SETTINGS.drop_params)),
        )
        cost = self._cost(found.usage)
        return self._heard(
            self._finish(EmbeddingResponse(**json.loads(EMBEDDING_CODECS[OPENAI_CHAT.name].write_response(found, asked))), cost),
            cost,
        )

    def _mock(self, mocked: Any) -> Any:
        """Answer as ``mock_response`` says, without a vendor: a text, an exception, or the name of one."""
        own = self.given.own
        if own.get("mock_timeout"):
            raise self._mocked("Timeout")
        if isinstance(mocked, Exception):
            raise mocked if isinstance(mocked, LiteLLMFacts) else self._mocked("InternalServerError", str(mocked))
        named = mocked.removeprefix("litellm.") if isinstance(mocked, str) else ""
        if named in NAMES and mocked != named:
            raise self._mocked(named)
        if isinstance(mocked, Mapping) and "choices" in mocked:
            return self._heard(self._finish(ModelResponse(**mocked), None), None)
        if self.call_type == "embedding":
            return self._mock_vectors(mocked)
        asked = self._inbound()
        answer = {"role": "assistant", "content": None if mocked is None else str(mocked)}
        calls = {"tool_calls": own["mock_tool_calls"]} if own.get("mock_tool_calls") else {}
        said = read_chat({"messages": [{**answer, **calls}]}, self.target.model).request.messages[0]
        response = Response(
            content=said.text,
            tool_calls=said.tool_calls,
            finish_reason="tool_calls" if calls else "stop",
            usage=_MOCK_USAGE,
            model=self.target.model,
            response_id=f"chatcmpl-{new_id(self.endpoints.clock)}",
            created_at=self.endpoints.clock.now(),
        )
        if not self.streamed:
            return self._done(response, asked)
        return self._wrap(unfold(response), lambda: response, asked, lambda: None)

    def _mock_vectors(self, vector: Any) -> BaseResponse:
        if not isinstance(vector, list):
            raise exception_class("BadRequestError")(
                "mock_response: of an embedding it is a list of numbers", self.target.model, self.target.provider
            )
        texts = self.given.fields.get("input") or [""]
        number = 1 if isinstance(texts, str) else len(texts)
        data = [{"embedding": vector, "index": index, "object": "embedding"} for index in range(number)]
        cost = self._cost(Usage(input_tokens=_MOCK_USAGE.input_tokens))
        return self._heard(self._finish(EmbeddingResponse(self.target.model, data, {"prompt_tokens": 10}), cost), cost)

    def _mocked(self, name: str, text: str = "this is a mock error") -> DispatchError:
        facts = {"message": text, "model": self.target.model, "llm_provider": self.target.provider}
        if name == "BudgetExceededError":
            facts = {"message": text}
        made = exception_class(name)(**facts)
        return cast(DispatchError, made)


def _within(stream: StreamingResponse, seconds: float | None) -> Iterator[StreamChunk]:
    """The chunks of a stream, none of which may take longer than so many seconds."""
    if seconds is None:
        yield from stream
        return
    channel = stream.content_channel
    while True:
        try:
            chunk = channel.get(timeout=seconds)
        except ChannelClosed:
            stream.response()  # raises what went wrong
            return
        except queue.Empty:
            raise DeadlineExceeded(f"the stream was silent for its {seconds:g} s; raise timeout= or stream_timeout=") from None
        yield chunk


def _as_text(choice: Mapping[str, Any]) -> dict[str, Any]:
    said = choice.get("message") or choice.get("delta") or {}
    return {
        "finish_reason": choice.get("finish_reason"),
        "index": choice.get("index") or 0,
        "text": said.get("content") or "",
        "logprobs": choice.get("logprobs"),
    }


def read_chat(fields: Mapping[str, Any], model: str) -> Inbound:
    """Read the fields of a chat as OpenAI's API does. Raises :class:`InvalidRequest` that names what is wrong."""
    named = {**fields, "model": model}
    if isinstance(named.get("response_format"), type):
        named["response_format"] = _form_of(named["response_format"])
    further = named.pop("extra_body", None) or {}
    if not isinstance(further, Mapping):
        raise exception_class("BadRequestError")(f"extra_body: {type(further).__name__} is no dict", model, None)
    return OPENAI_CHAT.read_request(to_json({**named, **further}, _LISTS))


def _form_of(kind: Any) -> dict[str, Any]:
    """A class of Pydantic as a form of an answer, closed as OpenAI's strict mode wants it."""
    if not hasattr(kind, "model_json_schema"):
        raise exception_class("BadRequestError")(
            f"response_format: {kind.__name__} is no class of Pydantic; give one, or {{'type': 'json_schema', ...}}", None, None
        )
    schema = _closed(kind.model_json_schema())
    return {"type": "json_schema", "json_schema": {"name": kind.__name__, "schema": schema, "strict": True}}


def _closed(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_closed(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    made = {name: _closed(value) for name, value in schema.items() if name != "default"}
    if isinstance(made.get("properties"), dict):
        made |= {"additionalProperties": False, "required": list(made["properties"])}
    return made


def metadata_of(own: Mapping[str, Any]) -> dict[str, Any]:
    """The metadata of a call, with its tags."""
    metadata = {**(own.get("litellm_metadata") or {}), **(own.get("metadata") or {})}
    if own.get("tags"):
        metadata["tags"] = list(dict.fromkeys([*(metadata.get("tags") or ()), *own["tags"]]))
    return metadata


def check_spent() -> None:
    """Raise ``BudgetExceededError`` where ``litellm.max_budget`` is spent."""
    if SETTINGS.max_budget and SETTINGS._current_cost > SETTINGS.max_budget:
        raise exception_class("BudgetExceededError")(SETTINGS._current_cost, SETTINGS.max_budget)


class CustomStreamWrapper:
    """The pieces of a streamed answer; closing it, or leaving its ``with`` block, stops the vendor."""

    def __init__(
        self, first: BaseResponse | None, rest: Generator[BaseResponse], close: Callable[[], None], hidden: dict[str, Any]
    ) -> None:
        self._first, self._rest, self._stop, self._closed = first, rest, close, False
        self._hidden_params = hidden
        self._response_headers: dict[str, str] = {}

    def __iter__(self) -> Iterator[BaseResponse]:
        return self

    def __next__(self) -> BaseResponse:
        if self._closed:
            raise StopIteration
        piece, self._first = self._first, None
        piece = piece if piece is not None else next(self._rest)
        self._hidden_params.update(piece._hidden_params)
        piece._hidden_params = {**self._hidden_params}
        return piece

    def close(self) -> None:
        """Stop the vendor; idempotent, safe from any thread."""
        self._closed = True
        self._stop()
        with suppress(ValueError):  # another thread reads on, and ends by itself
            self._rest.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __aiter__(self) -> NoReturn:
        raise TypeError("this stream is synchronous; iterate it with 'for', in a thread where an event loop runs")


def is_retried(error: BaseException) -> bool:
    """Whether the same question may succeed when it is asked again."""
    return isinstance(error, exception_class("Timeout")) or (isinstance(error, DispatchError) and error.retry_here)


def wait_before(error: BaseException, turn: int, clock: Clock) -> float:
    """Seconds before the next try: what the vendor asks for, up to a minute, else more each time, with chance."""
    asked = getattr(error, "retry_after", None)
    if asked is not None and 0 <= asked <= _LONGEST_WAIT:
        return float(asked)
    return min(0.5 * 2.0**turn, 8.0) * (1 - 0.25 * clock.random())


def pause(seconds: float, clock: Clock) -> None:
    """Wait so long."""
    if seconds > 0:
        Deadline.after(None, clock=clock).sleep(seconds)


def retries_of(own: Mapping[str, Any]) -> int:
    """How often a call is tried again: ``num_retries``, ``max_retries``, the module's, else twice."""
    for value in (own.get("num_retries"), own.get("max_retries"), SETTINGS.num_retries):
        if value is not None:
            return int(value)
    return _RETRIES


MODULE = Endpoints()


def _call(call_type: str, model: str, given: Mapping[str, Any]) -> Any:
    """Ask a model, again where that may help, and the fallbacks where it does not."""
    arguments = CallArguments.of({**given, "model": model})
    fields = {name: value for name, value in arguments.fields.items() if name != "model"}
    arguments = attrs.evolve(arguments, fields=fields)
    try:
        return _retrying(call_type, model, arguments)
    except DispatchError as error:
        others = _others(model, arguments.own, error)
        if not others:
            raise
        first = error
    for other in others:
        over = dict(other) if isinstance(other, Mapping) else {"model": other}
        named = over.pop("model", model)
        changed = CallArguments.of(over)
        try:
            return _retrying(
                call_type,
                named,
                CallArguments(
                    {**arguments.fields, **changed.fields}, {**_of_any_vendor(arguments.own, named, model), **changed.own}
                ),
            )
        except DispatchError:
            continue
    raise first


def _of_any_vendor(own: Mapping[str, Any], named: str, model: str) -> dict[str, Any]:
    """The arguments for a fallback: a key and an address go to the vendor that they were given for, and to no other."""
    if target_of(named, None).row == target_of(model, own.get("custom_llm_provider")).row:
        return dict(own)
    of_one = ("api_key", "api_base", "base_url", "api_version", "organization", "headers", "extra_headers", "custom_llm_provider")
    return {name: value for name, value in own.items() if name not in of_one}


def _others(model: str, own: Mapping[str, Any], error: DispatchError) -> Sequence[Any]:
    if isinstance(error, exception_class("BudgetExceededError")):
        return ()
    larger = (own.get("context_window_fallback_dict") or {}).get(model) if isinstance(model, str) else None
    if larger is not None and isinstance(error, exception_class("ContextWindowExceededError")):
        return (larger,)
    return own.get("fallbacks") or ()


def _retrying(call_type: str, model: str, given: CallArguments) -> Any:
    retries = retries_of(given.own)
    for turn in count():
        try:
            return ProviderCall(call_type, model, given, MODULE).run()
        except DispatchError as error:
            if turn >= retries or not is_retried(error) or given.own.get("mock_response") is not None:
                raise
            pause(wait_before(error, turn, MODULE.clock), MODULE.clock)
    raise AssertionError("unreachable")


def completion(model: str, messages: Sequence[Any] = (), **given: Any) -> Any:
    """Answer a conversation: a :class:`ModelResponse`, or with ``stream=True`` a :class:`CustomStreamWrapper`.

    ``model`` is ``vendor/model``. Besides OpenAI's parameters it takes LiteLLM's: ``api_key``, ``api_base``, ``timeout`` in
    seconds for each try, ``num_retries`` (2), ``fallbacks``, ``metadata``, ``tags``, ``drop_params``, ``mock_response``, ... What
    is neither is sent to the vendor as it is. Raises the exceptions of :mod:`~llmdispatcher.integrations.litellm.exceptions`.
    """
    return _call("completion", model, {"messages": messages, **given})


def completion_with_retries(model: str, messages: Sequence[Any] = (), **given: Any) -> Any:
    """Answer a conversation with ``num_retries`` (3) further tries."""
    return completion(model, messages, **{"num_retries": 3, **given})


def text_completion(prompt: str | Sequence[str], model: str, **given: Any) -> Any:
    """Continue a text; a :class:`TextCompletionResponse`, or pieces of one. It is asked for by chat, as the user's message."""
    prompts = [prompt] if isinstance(prompt, str) else list(prompt)
    if not prompts or not all(isinstance(one, str) for one in prompts) or (given.get("stream") and len(prompts) > 1):
        raise exception_class("BadRequestError")("prompt: give a text, or a list of texts; of a stream one text", model, None)
    answers = [_call("text_completion", model, {"messages": [{"role": "user", "content": one}], **given}) for one in prompts]
    if len(answers) > 1:
        answers[0]["choices"] = [answer["choices"][0] for answer in answers]
        for index, choice in enumerate(answers[0]["choices"]):
            choice["index"] = index
        for name in ("prompt_tokens", "completion_tokens", "total_tokens"):
            answers[0]["usage"][name] = sum(answer["usage"][name] for answer in answers)
        costs = [answer._hidden_params["response_cost"] for answer in answers]
        answers[0]._hidden_params["response_cost"] = None if None in costs else sum(costs)
    return answers[0]


def embedding(model: str, input: str | Sequence[str] = (), **given: Any) -> EmbeddingResponse:
    """Make vectors of texts; ``response.data[0]["embedding"]``, in the order of the texts."""
    made: EmbeddingResponse = _call("embedding", model, {"input": input, **given})
    return made


def batch_completion(model: str, messages: Sequence[Any] = (), max_workers: int = 8, **given: Any) -> list[Any]:
    """Answer many conversations at the same time; the result has their answers in order, an exception in the place of one."""

    def ask(one: Any) -> Any:
        try:
            return completion(model, one, **given)
        except DispatchError as error:
            return error

    return list(fan_out(ask, messages, max_workers, return_errors=True))
