"""The responses of simulated vendors: ``SimulatedResponse``, its tokens, and the response to a request if none is scripted."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import attrs

from ..types import Request, Tool, ToolCall

_WORDS = re.compile(r"[^\W\d_]{4,}")
_COMMON = frozenset(
    re.findall(
        r"\w+",
        """about also been could from have into just like make more most only other over please should some tell than that the their
        them then there these they this those very want what when where which while will with would write your""",
    )
)


def _calls(value: ToolCall | Iterable[ToolCall]) -> tuple[ToolCall, ...]:
    return (value,) if isinstance(value, ToolCall) else tuple(value)


def _several(value: Iterable[SimulatedResponse]) -> tuple[SimulatedResponse, ...]:
    return tuple(value)


@attrs.frozen
class SimulatedResponse:
    """One whole response, before any format. ``finish`` is ``"stop"``, ``"length"``, ``"tool_calls"`` or ``"content_filter"``.

    ``finish`` is worked out where it is not given; ``stop_sequence`` is the one that ended the text. ``others`` are the further
    choices of a request that asks for several; without them each choice is this one.
    """

    text: str = ""
    tool_calls: tuple[ToolCall, ...] = attrs.field(default=(), kw_only=True, converter=_calls)
    reasoning: str = attrs.field(default="", kw_only=True)
    finish: str | None = attrs.field(default=None, kw_only=True)
    stop_sequence: str | None = attrs.field(default=None, kw_only=True)
    others: tuple[SimulatedResponse, ...] = attrs.field(default=(), kw_only=True, converter=_several)

    @property
    def reason(self) -> str:
        """Why it ended."""
        return self.finish or ("tool_calls" if self.tool_calls else "stop")

    @property
    def output_tokens(self) -> int:
        """Tokens of text and tool calls of all choices, without reasoning."""
        own = count_tokens(self.text) + sum(count_tokens(call.name + call.arguments) for call in self.tool_calls)
        return own + sum(other.output_tokens for other in self.others)

    @property
    def reasoning_tokens(self) -> int:
        """Tokens of the reasoning of all choices."""
        return count_tokens(self.reasoning) + sum(other.reasoning_tokens for other in self.others)

    def with_choices(self, count: int) -> SimulatedResponse:
        """Return the response with so many choices in all."""
        alone = attrs.evolve(self, others=())
        return attrs.evolve(self, others=(*self.others, *[alone] * count)[: count - 1])

    def truncate(self, max_tokens: int | None, stops: Sequence[str] = ()) -> SimulatedResponse:
        """Return the response under a request's limits."""
        found = [(at, stop) for stop in stops if stop and (at := self.text.find(stop)) >= 0]
        answer = attrs.evolve(self, others=[one.truncate(max_tokens, stops) for one in self.others]) if self.others else self
        if found:
            at, stop = min(found)
            answer = attrs.evolve(answer, text=answer.text[:at], stop_sequence=stop)
        if max_tokens is not None and count_tokens(answer.text) > max_tokens:
            answer = attrs.evolve(answer, text=answer.text[: max_tokens * 4], finish="length", stop_sequence=None)
        return answer


def count_tokens(text: str) -> int:
    """Return a quarter of the characters, rounded up: the tokens of all simulated usage."""
    return -(-len(text) // 4)


pieces: Callable[[str], list[str]] = re.compile(r"\s*\S+|\s+$").findall
"""Splits a text into words, each with the blank before it, as a stream delivers them."""


def draw(seed: int, *what: object) -> float:
    """Return a number in [0, 1) that depends on the arguments alone, so that a run can be repeated whatever its threads do."""
    digest = hashlib.blake2b(repr((seed, what)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64


_OPENINGS = (
    "Here is a short answer about {0}.",
    "In brief, {0} matters here mostly because of {1}.",
    "Let us look at {0} first, and at {1} after that.",
    "The question turns on {0}.",
    "There are two sides to {0}, and {1} belongs to both.",
    "Good point; {0} is easily mixed up with {1}.",
)
_MIDDLES = (
    "When {0} changes, {1} usually changes with it, though not at the same pace.",
    "A simple way to check this is to write {0} down and compare it with {1}.",
    "Most people start with {1} and only later notice {0}.",
    "If {0} is large, keep {1} small; the reverse works less well.",
    "Three things are worth noting: the size of {0}, the age of {1}, and who decides about both.",
    "Nothing in the text contradicts {1}, but {0} is only hinted at.",
    "I would keep {0} as it is and rewrite the part about {1}.",
    "As an example, take {1}: without {0} it would not have come up at all.",
    "The numbers for {0} look right; those for {1} deserve a second look.",
    "Between {0} and {1} there is a gap that a single sentence can close.",
)
_CLOSINGS = (
    "That is all there is to {0} for now.",
    "Tell me more about {1} and I can be more precise.",
    "So start with {0}, and leave {1} for next week.",
    "In short: {0} first, {1} second.",
    "I hope this helps with {0}.",
)


def plausible_text(prompt: str, seed: int = 0) -> str:
    """Return two to nine sentences about the words of the prompt, the same for the same prompt and seed."""
    words = list(dict.fromkeys(word.lower() for word in _WORDS.findall(prompt) if word.lower() not in _COMMON))[:40]
    topics = words or ["the matter", "its details"]

    def sentence(forms: Sequence[str], number: int) -> str:
        first = int(draw(seed, prompt, number, "topic") * len(topics))
        form = forms[int(draw(seed, prompt, number, "form") * len(forms))]
        return form.format(topics[first], topics[(first + 1) % len(topics)])

    count = int(draw(seed, prompt, "length") * 8)
    middle = [sentence(_MIDDLES, number) for number in range(1, 1 + count)]
    return " ".join([sentence(_OPENINGS, 0), *middle, sentence(_CLOSINGS, -1)])


def response_to(request: Request, prompt: str, seed: int = 0) -> SimulatedResponse:
    """Return a response that does what the request asks: a forced tool call, JSON of the requested form, else plausible text.

    Each of ``n`` choices has a text of its own, and one sentence of reasoning if the request asks for that. The same request and
    seed give the same response.
    """
    answer, *others = [_choice(request, plausible_text(prompt, seed + number)) for number in range(request.n or 1)]
    return attrs.evolve(answer, others=others)


def _choice(request: Request, text: str) -> SimulatedResponse:
    thinks = request.reasoning_tokens or request.reasoning_summary or (request.reasoning_effort or "none") != "none"
    reasoning = text.partition(".")[0] + "." if thinks else ""
    tool = _forced_tool(request)
    if tool is not None:
        arguments = json.dumps(_example_or_empty(tool.parameters), ensure_ascii=False)
        return SimulatedResponse(tool_calls=ToolCall(name=tool.name, arguments=arguments), reasoning=reasoning)
    form = request.response_format or {}
    if form.get("type") == "json_schema":
        schema = (form.get("json_schema") or {}).get("schema") or {}
        text = json.dumps(_example_or_empty(schema), ensure_ascii=False)
    elif form.get("type") == "json_object":
        text = json.dumps({"answer": text}, ensure_ascii=False)
    return SimulatedResponse(text, reasoning=reasoning)


def _example_or_empty(schema: Any) -> Any:
    """A value that fits a client's schema; an empty object for an invalid schema."""
    try:
        return example(schema)
    except (TypeError, ValueError, LookupError, AttributeError, ArithmeticError):
        return {}


def _forced_tool(request: Request) -> Tool | None:
    """The first tool that the choice demands."""
    tools, choice = [tool for tool in request.tools if isinstance(tool, Tool)], request.tool_choice
    if isinstance(choice, Mapping):
        named = choice.get("function")
        choice = (named.get("name") if isinstance(named, Mapping) else None) or choice.get("name") or choice.get("type")
    if choice in ("required", "any"):
        return next(iter(tools), None)
    return next((tool for tool in tools if tool.name == choice), None)


_EXAMPLES: Mapping[str, Any] = {"boolean": True, "null": None, "object": {}, "string": "example"}
_FORMATS = {
    "date": "2026-01-31",
    "date-time": "2026-01-31T12:00:00Z",
    "time": "12:00:00Z",
    "email": "someone@example.com",
    "uri": "https://example.com/",
    "uuid": "00000000-0000-4000-8000-000000000000",
    "ipv4": "192.0.2.1",
    "hostname": "example.com",
}
_MOST_DEPTH = 16


def example(schema: Any, root: Any = None, depth: int = 0) -> Any:
    """Return a value that fits a JSON schema of common keywords; patterns are ignored."""
    root = schema if root is None else root
    if not isinstance(schema, Mapping) or depth > _MOST_DEPTH:
        return {}
    if isinstance(schema.get("$ref"), str):
        return example(_resolve(root, schema["$ref"]), root, depth + 1)
    for keyword in ("const", "default"):
        if keyword in schema:
            return schema[keyword]
    if schema.get("enum") or schema.get("examples"):
        return (schema.get("enum") or schema["examples"])[0]
    for keyword in ("anyOf", "oneOf"):
        if schema.get(keyword):
            first = schema[keyword][0]
            return example({**{name: value for name, value in schema.items() if name != keyword}, **first}, root, depth + 1)
    if schema.get("allOf"):
        merged: dict[str, Any] = {name: value for name, value in schema.items() if name != "allOf"}
        for part in schema["allOf"]:
            part = _resolve(root, part["$ref"]) if "$ref" in part else part
            merged |= {**part, "properties": {**merged.get("properties", {}), **part.get("properties", {})}}
        return example(merged, root, depth + 1)
    return _example_of_type(schema, root, depth)


def _example_of_type(schema: Mapping[str, Any], root: Any, depth: int) -> Any:
    kind = schema.get("type") or ("object" if "properties" in schema else "array" if "items" in schema else "string")
    kind = kind[0] if isinstance(kind, list) else kind
    if kind == "object":
        needed = schema.get("required", ())
        inner = {name: one for name, one in schema.get("properties", {}).items() if name in needed or depth < _MOST_DEPTH // 4}
        return {name: example(one, root, depth + 1) for name, one in inner.items()}
    if kind == "array":
        count = schema.get("minItems", 1 if depth < _MOST_DEPTH // 2 else 0)
        return [example(schema.get("items", {"type": "string"}), root, depth + 1) for _ in range(min(count, 100))]
    if kind in ("integer", "number"):
        return _number_in(schema, whole=kind == "integer")
    text = _FORMATS.get(schema.get("format", ""), _EXAMPLES.get(kind, "example"))
    if isinstance(text, str):
        least, most = schema.get("minLength", 0), schema.get("maxLength", len(text) + schema.get("minLength", 0))
        return text.ljust(least, "e")[:most]
    return text


def _number_in(schema: Mapping[str, Any], *, whole: bool) -> float:
    low, high, step = schema.get("minimum"), schema.get("maximum"), schema.get("multipleOf") or 1
    if "exclusiveMinimum" in schema:
        low = schema["exclusiveMinimum"] + (step if whole or step != 1 else 0.5)
    if "exclusiveMaximum" in schema:
        high = schema["exclusiveMaximum"] - (step if whole or step != 1 else 0.5)
    value: Any = 1 if (low is None or low <= 1) and (high is None or high >= 1) else low if low is not None else high
    value = -(-value // step) * step if value % step else value
    return int(value) if whole else float(value)


def _resolve(root: Any, pointer: str) -> Any:
    """The target of a local ``$ref``; an empty schema if there is none."""
    found = root
    for step in pointer.removeprefix("#").strip("/").split("/"):
        if step:
            found = found.get(step.replace("~1", "/").replace("~0", "~")) if isinstance(found, Mapping) else None
    return found if isinstance(found, Mapping) else {}
