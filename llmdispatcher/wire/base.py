"""What a wire format is: a :class:`Codec`, the decoder and the writer of its streams."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Protocol, Self
from urllib.parse import unquote

import attrs

from ..errors import DispatchError
from ..types import MOST_MEMBERS, Request, Response, StreamChunk, TextPart


@attrs.frozen(kw_only=True)
class Bounds:
    """How much one answer may be: bytes, and members of objects and lists.

    Each piece of a stream comes in an envelope of its own, so all its events together may have :data:`STREAMED` times as many
    members, and what is beyond :data:`ENVELOPE` bytes in each of them may have ``size`` bytes in all.
    """

    size: int = 8 << 20
    members: int = MOST_MEMBERS

    @property
    def streamed(self) -> int:
        """Bytes that a stream may have with all its envelopes."""
        return STREAMED * self.size


STREAMED = 20
ENVELOPE = 1024


class StreamDecoder(Protocol):
    """Turns the bytes of one stream into chunks, whatever the cuts between them.

    After an error is raised, or after :meth:`finish`, a decoder is of no further use.
    """

    bounds: Bounds
    """The limits of the stream; set other ones before the first :meth:`feed`."""
    done: bool
    """Whether the format's end marker was seen: nothing more needs to be read."""
    skipped: int
    """How many events could not be read and are missing in the answer."""
    ended: bool
    """Whether the answer is complete as it stands, although more may come: a finish reason was seen."""

    def feed(self, data: bytes) -> list[StreamChunk]:
        """The chunks that ``data`` completes. Raises what an error inside the stream stands for, or :class:`MalformedReply`.

        Where chunks came before the error they are returned, and :meth:`check` raises it.
        """

    def check(self) -> None:
        """Raise the error that came right behind the chunks of the last :meth:`feed`, if one did."""

    def finish(self) -> list[StreamChunk]:
        """What is left at the end of the body. Raises :class:`StreamInterrupted` where the end marker is missing."""


EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@attrs.frozen(kw_only=True)
class Inbound:
    """A request as a client of ours sent it: what it asks for, and how it wants the answer.

    ``stream_usage`` is whether a stream is to tell its usage, which OpenAI's chat does only on request. ``created_at`` is what a
    stream tells as the time of its answer; without it 1970, so that the bytes depend on the answer alone.
    """

    request: Request
    stream: bool = False
    stream_usage: bool = True
    created_at: datetime = EPOCH


AtVendor = Callable[..., tuple["Codec", bytes, Mapping[str, str]]]
"""``at_vendor(codec, request, encode, quirks, meter, *, client)``: the codec to use in place of a vendor's, the body to send, empty
for the encoded one, and headers to send in place of the vendor's.

``encode(request)`` is what the vendor would send of a request, not streamed, ``None`` where nothing else can be sent; ``meter`` is
that of the attempt, and ``client`` tells that the vendor is to see the client's own credentials.
"""


@attrs.frozen(slots=False)
class InboundRequest(Request[Any]):
    """A request that knows how it goes to a vendor of the format in which it came; see :class:`Inbound`."""

    at_vendor: AtVendor = attrs.field(kw_only=True, eq=False, repr=False)

    @classmethod
    def of(cls, request: Request, at_vendor: AtVendor) -> Self:
        """The request with that."""
        made = object.__new__(type(request) if isinstance(request, cls) else cls)
        object.__setattr__(made, "__dict__", {**vars(request), "at_vendor": at_vendor})
        return made


EMPTY_TURN = (TextPart(text=""),)
"""The content of a user's turn without text and with empty media only; each format decides what to send for it."""


def model_in(path: str, pattern: re.Pattern[str]) -> str:
    """The model that a path names; an empty text where it names none."""
    found = pattern.search(path)
    return unquote(found.group(1)) if found else ""


class StreamWriter(Protocol):
    """Turns the chunks of one answer into the bytes of a stream; what :class:`StreamDecoder` reads.

    Either :meth:`end` or :meth:`fail` is the last call.
    """

    def write(self, chunk: StreamChunk) -> bytes:
        """The events that one chunk becomes; may be empty."""

    def end(self) -> bytes:
        """What is still owed, and the end marker."""

    def fail(self, error: DispatchError) -> bytes:
        """The event that tells of a failure in the middle of a stream."""


@attrs.frozen(kw_only=True)
class Codec:
    """One wire format, both ways: pure functions without state, shared by all threads.

    A vendor of ours uses the first five; a gateway and the simulator use the other four.
    """

    name: str
    path: Callable[[str, bool], str]
    """``path(model, stream)``: below the vendor's base URL, with its query, such as ``"/chat/completions"``."""
    encode: Callable[..., bytes]
    """``encode(request, *, stream, quirks=frozenset())``: the JSON body. Raises :class:`InvalidRequest` for what the format
    cannot express. ``quirks`` tell what the model or vendor refuses or calls differently; :data:`QUIRKS` lists them."""
    decode: Callable[..., Response]
    """``decode(body, members=MOST_MEMBERS)``: a whole answer. Raises :class:`MalformedReply`, or what an error inside a 200
    stands for. An answer with more ``members`` of objects and lists is refused before it is decoded."""
    decoder: Callable[[], StreamDecoder]
    """A new decoder for one stream."""
    content_type: str
    """Of a stream in this format."""
    read_request: Callable[..., Inbound]
    """``read_request(body, path="")``: the request in a body; ``path`` is the one it was sent to, where the format says something
    there. What has no place in :class:`Request` is kept in ``extra_params``, and in the ``extra`` of its parts. Raises
    :class:`InvalidRequest` that names what is wrong."""
    write_response: Callable[..., bytes]
    """``write_response(response, asked=None)``: the body of a whole answer, to the :class:`Inbound` ``asked``."""
    writer: Callable[..., StreamWriter]
    """``writer(asked=None)``: a new writer for one stream, an answer to the :class:`Inbound` ``asked``."""
    write_error: Callable[[DispatchError], tuple[int, bytes]]
    """Status and body of a refusal."""


QUIRKS: Mapping[str, str] = {
    "no_penalties": "refuses frequency_penalty and presence_penalty",
    "no_logprobs": "refuses logprobs",
    "no_sampling": "refuses temperature, top_p, top_k and penalties",
    "no_stop": "refuses stop sequences",
    "no_forced_tools": "refuses a tool_choice that forces a call",
    "no_prefill": "refuses a conversation that ends with the assistant",
    "no_parallel_tools": "refuses parallel_tool_calls",
    "no_effort": "refuses a reasoning effort",
    "no_json_schema": "has no JSON schema for answers; a forced tool or the prompt must do",
    "max_completion_tokens": "calls max_tokens so",
    "no_max_completion_tokens": "knows the limit as max_tokens alone",
    "system_role": "knows no developer messages, only the system's",
    "thinking_budget": "takes a budget of tokens for its thoughts, not a level",
    "adaptive_thinking": "thinks by effort alone, a budget of tokens is refused",
    "replay_reasoning": "wants its thoughts back in the messages",
    "thoughts_beside_tools": "refuses turns of the assistant without thoughts beside tools; a blank stands for unknown ones",
    "think_tags": "writes its thoughts into the text, between <think> and </think>",
    "random_seed": "calls the seed so",
    "no_top_k": "refuses top_k",
    "no_user": "refuses the user's name",
    "no_prompt_cache_key": "refuses prompt_cache_key",
    "one_of_sampling": "takes temperature or top_p, not both",
    "no_empty_turns": "refuses a turn of the assistant that says nothing and calls nothing",
    "no_null_content": "wants a text beside calls, if an empty one",
    "no_system": "knows no system messages; they begin the user's first one",
    "alternating_turns": "wants the user and the assistant by turns, instructions first",
    "assistant_after_results": "wants the assistant between results of tools and the user",
    "text_results": "takes text alone in results of tools; pictures follow in a user's message",
    "no_form_beside_tools": "takes functions or a JSON form, not both; the prompt tells the form",
    "checked_schemas": "refuses arguments that are no object, and strict schemas that do not name and require all fields",
    "typed_schemas": "refuses types beside choices and references, as Moonshot's own part of JSON schema does",
    "strict_fields": "refuses fields of messages, parts and tools that are not of OpenAI's chat API",
    "cache_marks": "takes Anthropic's cache_control on parts and tools of OpenAI's chat format",
    "thinking_blocks": "takes thoughts among the content of OpenAI's chat format",
    "signed_calls": "refuses calls without a thought signature; a placeholder stands for one that nobody has",
    "no_stream_options": "refuses stream_options",
    "no_functions": "knows tools alone: functions, function_call and the role function are sent as tools",
}
"""What a model (``traits.toml``) or a vendor (``vendors.toml``) can be known for; codecs go by these, never by names."""

LIMITS: Mapping[str, str] = {
    "call_id": "the pattern of a call's id",
    "tool_name": "the pattern of a tool's name",
    "name": "the pattern of the name of a message's author",
    "user": "the most characters of the user's name and of prompt_cache_key",
    "n": "the most choices",
    "stops": "the most stop sequences",
    "temperature": "the highest temperature",
}
"""How much of a thing a model (``traits.toml``) or a vendor (``vendors.toml``) takes."""
