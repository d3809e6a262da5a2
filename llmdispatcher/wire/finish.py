"""Why an answer ended: one table of every vendor's words, for all formats. https://platform.openai.com/docs/api-reference/chat/object

The common words are OpenAI's: ``stop``, ``length``, ``tool_calls`` and ``content_filter``. A word that is in no table is kept, in
lower case, and written to clients of another format as the plain end. A word that tells of a failure is no end of an answer.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ..errors import StreamInterrupted

COMMON: Mapping[str, str] = {
    **dict.fromkeys(
        (
            "stop",
            "stopped",  # Azure AI Inference
            "end_turn",  # Anthropic, Bedrock
            "stop_sequence",  # Anthropic, Bedrock, watsonx; Cohere: STOP_SEQUENCE
            "eos",  # Together
            "eos_token",  # TGI, Hugging Face, watsonx
            "end_of_text",
            "endoftext",  # AI21
            "complete",  # Cohere: COMPLETE
            "completed",  # OpenAI Responses
            "finish",  # Bedrock Titan: FINISH
            "finished",
            "done",
        ),
        "stop",
    ),
    **dict.fromkeys(
        (
            "length",
            "max_tokens",  # Anthropic, Bedrock, watsonx; Gemini, Cohere: MAX_TOKENS
            "max_output_tokens",  # OpenAI Responses
            "max_completion_tokens",
            "max_new_tokens",
            "max_length",
            "model_length",  # Mistral
            "model_context_window_exceeded",  # Anthropic, Bedrock, Z.ai
            "context_length_exceeded",
            "token_limit",  # watsonx
            "token_limit_reached",  # Azure AI Inference
            "time_limit",  # watsonx
            "error_limit",  # Cohere
        ),
        "length",
    ),
    **dict.fromkeys(("tool_calls", "tool_call", "tool_use", "function_call"), "tool_calls"),
    **dict.fromkeys(
        (
            "content_filter",
            "content_filtered",  # Bedrock
            "refusal",  # Anthropic
            "sensitive",  # Z.ai
            "safety",  # Gemini from here on
            "recitation",
            "blocklist",
            "prohibited_content",
            "spii",
            "model_armor",
            "image_safety",
            "image_prohibited_content",
            "image_recitation",
            "jailbreak",
            "guardrail_intervened",  # Bedrock
            "error_toxic",  # Cohere
            "content_policy_violation",
            "moderation",
            "blocked",
        ),
        "content_filter",
    ),
}
"""By a vendor's word in lower case."""

FAILURES = frozenset(
    {
        "error",  # OpenRouter, vLLM, Mistral, Cohere, watsonx
        "failed",
        "network_error",  # Z.ai
        "insufficient_system_resource",  # DeepSeek
        "abort",  # vLLM, SGLang
        "aborted",
        "cancelled",  # watsonx
        "canceled",
        "user_cancel",  # Cohere
        "timeout",  # Cohere
        "server_error",
        "internal_error",
        "overloaded",
        "engine_overloaded",
    }
)
"""The words of an answer that a vendor broke off."""

_PREFIX = re.compile(r"^finish_?reason[_.]")


_SILENT = frozenset({"", "null", "none", "unspecified"})
"""Words of an answer that has not ended: DashScope sends ``"null"``, Google's zero value is ``FINISH_REASON_UNSPECIFIED``."""


def ends(raw: Any) -> bool:
    """Whether a word says why an answer ended."""
    return isinstance(raw, str) and plain(raw) not in _SILENT


def plain(raw: str) -> str:
    """A vendor's word in the spelling of the tables; what follows a colon, as in ``content_filter: RECITATION``, is left out."""
    word = raw.partition(":")[0].strip().lower().replace("-", "_").replace(" ", "_")
    return _PREFIX.sub("", word) if word.startswith("finish") else word


def finish_of(raw: Any, *, called: bool = False) -> str | None:
    """The common word for why an answer ended, its own in lower case where there is none; ``None`` for no word or a failure's.

    Most vendors tell no call from a plain end; ``called`` does.
    """
    common = COMMON.get(raw) if isinstance(raw, str) else None
    if common is None:
        if not ends(raw):
            return None
        word = plain(raw)
        if word in FAILURES:
            return None
        common = COMMON.get(word, raw.lower())
    return "tool_calls" if called and common == "stop" else common


def broken_off(raw: Any) -> StreamInterrupted | None:
    """The error that a word of failure stands for; ``None`` for all other words."""
    if not isinstance(raw, str) or plain(raw) not in FAILURES:
        return None
    return StreamInterrupted(f"the vendor broke the answer off: it ended with {plain(raw)!r}", code=plain(raw), sent=True)


def raise_broken(raw: Any) -> None:
    """Raise the error that a word of failure stands for."""
    error = broken_off(raw)
    if error is not None:
        raise error


def canonical_reason(reason: str | None) -> str | None:
    """A reason as one of the four common words; ``None`` where it is none of them, such as a pause."""
    return COMMON.get(plain(reason)) if reason is not None else None
