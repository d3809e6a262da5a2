"""An answer as OpenAI's chat format writes it in one piece, and what pieces of a stream have in common with that."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from ..messages import ImagePart, OtherPart, Part, ReasoningPart, TextPart, ToolCall
from ..response_values import Choice, Citation, Response
from .openai_turns import is_block, joined_thoughts, written_call, written_part
from .openai_usage import written_usage
from .openai_words import FINISH, LEGACY, NAME, how
from .payload import mapping, written

NO_ID = "chatcmpl-0"
"""Names an answer that came without a name."""
CITATION = "url_citation"
_WORDS = ("stop", "length", "tool_calls", "content_filter", "function_call")


def whole(response: Response) -> bytes:
    """The body of a whole answer."""
    usage = written_usage(response.usage)
    choices = [_choice(choice) for choice in response.choices]
    told, sources = cited(response.citations)
    if told:
        choices[0]["message"]["annotations"] = told
    return written(
        {
            "id": response.response_id or NO_ID,
            "object": "chat.completion",
            "created": 0 if response.created_at is None else int(response.created_at.timestamp()),
            "model": response.model,
            "choices": choices,
            **({} if usage is None else {"usage": usage}),
            **({} if response.service_tier is None else {"service_tier": response.service_tier}),
            **sources,
        }
    )


def _choice(choice: Choice) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": _content(choice), "refusal": choice.refusal}
    message |= _thoughts(choice)
    calls = [made_up(call, place) for place, call in enumerate(choice.tool_calls)]
    if len(calls) == 1 and how(calls[0]) == LEGACY:
        message["function_call"] = {"name": calls[0].name, "arguments": calls[0].arguments}
    elif calls:
        message["tool_calls"] = [written_call(call) for call in calls]
    images = pictures(choice.parts)
    if images:
        message["images"] = images
    return {
        "index": choice.index,
        "message": message,
        "logprobs": {"content": list(choice.logprobs), "refusal": None} if choice.logprobs else None,
        "finish_reason": finish_word(choice.finish_reason, choice.finish_reason_raw, called=bool(calls)),
    }


def _content(choice: Choice) -> str | list[Any] | None:
    """Text, but for answers with parts among it that only this format knows."""
    blocks = [part for part in choice.parts if is_own(part)]
    if not blocks:
        return choice.content or (None if choice.tool_calls or choice.refusal else "")
    return [written_part(part) for part in choice.parts if isinstance(part, TextPart) or is_own(part)]


def is_own(part: Part) -> bool:
    """Whether a part stands among the content and only this format knows it."""
    return (isinstance(part, OtherPart) and part.origin == NAME) or (isinstance(part, ReasoningPart) and is_block(part))


def _thoughts(choice: Choice) -> dict[str, Any]:
    """Thoughts beside the content: in the fields that they came in, else in the spelling that most servers use."""
    own = [part for part in choice.parts if isinstance(part, ReasoningPart) and part.origin == NAME]
    if own:
        return joined_thoughts(own)
    return {"reasoning_content": choice.reasoning} if choice.reasoning else {}


def made_up(call: ToolCall, place: int) -> ToolCall:
    """The call with an id; clients count on one."""
    return call if call.id or how(call) == LEGACY else attrs.evolve(call, id=f"call_{place}")


def finish_word(reason: str | None, raw: str | None, *, called: bool) -> str:
    """Why an answer ended, in a word of this format: the vendor's own if it is one, and calls are never a plain end."""
    if reason is None:
        return "tool_calls" if called else "stop"
    if raw in _WORDS and (FINISH.get(raw, raw) == reason):
        return raw
    return reason


def pictures(parts: Sequence[Part]) -> list[dict[str, Any]]:
    """Pictures that a model made, as OpenRouter sends them."""
    return [written_part(part) for part in parts if isinstance(part, ImagePart) and (part.url or (part.data and part.media_type))]


def cited(citations: Sequence[Citation]) -> tuple[list[Mapping[str, Any]], dict[str, Any]]:
    """The sources of an answer: as annotations of its message, and Perplexity's beside it."""
    listed = [citation for citation in citations if "url" in citation.raw and "type" not in citation.raw]
    told = [_annotation(citation) for citation in citations if citation not in listed and (citation.url or citation.raw)]
    results = [citation.raw for citation in listed if len(citation.raw) > 1]
    beside = {"citations": [citation.url for citation in listed]} if listed else {}
    return [one for one in told if one is not None], {**beside, "search_results": results} if results else beside


def _annotation(citation: Citation) -> Mapping[str, Any] | None:
    if citation.raw.get("type") == CITATION and mapping(citation.raw.get(CITATION)):
        return citation.raw
    if not citation.url:
        return None
    known = {"start_index": citation.start, "end_index": citation.end, "content": citation.text}
    source = {
        "url": citation.url,
        "title": citation.title or "",
        **{name: value for name, value in known.items() if value is not None},
    }
    return {"type": CITATION, CITATION: source}
