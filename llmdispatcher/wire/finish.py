"""Why an answer ended: one table of every vendor's words, for all formats. https://platform.openai.com/docs/api-reference/chat/object

The common words are OpenAI's: ``stop``, ``length``, ``tool_calls`` and ``content_filter``. A word that is in no table is kept, in
lower case, and written to clients of another format as the plain end. A word that tells of a failure is no end of an answer: the
vendor broke it off (:data:`FAILURES`), or the model wrote a call that nobody can read (:data:`UNREADABLE`).

https://ai.google.dev/api/generate-content#FinishReason,
https://lmstudio.ai/docs/typescript/api-reference/llm-prediction-stop-reason, https://developers.sber.ru/docs/ru/gigachat/api,
https://ibm.github.io/watsonx-ai-node-sdk, https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ..errors import DispatchError, MalformedReply, RateLimitError, StreamInterrupted
from .words import by_word, words

COMMON: Mapping[str, str] = by_word(
    {
        "stop": (
            "stop end_of_text finished done end success",
            "end_turn stop_sequence",  # Anthropic, Bedrock, watsonx; Cohere: STOP_SEQUENCE
            "eos eos_token endoftext",  # Together; TGI, Hugging Face, watsonx; AI21
            "eos_found stop_string_found",  # LM Studio: eosFound
            "stopped stop_sequence_reached stop_criteria_met finish",  # Azure AI Inference, Aleph Alpha, Bedrock Titan
            "normal final complete completed",  # Qianfan; Yandex: ALTERNATIVE_STATUS_FINAL; Cohere: COMPLETE; OpenAI Responses
        ),
        "length": (
            "length max_completion_tokens max_new_tokens max_length context_length_exceeded truncated",
            "max_tokens max_output_tokens",  # Anthropic, Bedrock, watsonx; Gemini, Cohere: MAX_TOKENS; OpenAI Responses
            "model_length model_context_window_exceeded",  # Mistral; Anthropic, Bedrock, Z.ai
            "max_predicted_tokens_reached context_length_reached",  # LM Studio: maxPredictedTokensReached
            "max_output max_len max_context",  # MiniMax; xAI: REASON_MAX_LEN
            "token_limit time_limit token_limit_reached error_limit",  # watsonx, Azure AI Inference, Cohere
            "maximum_tokens limit truncated_final",  # Aleph Alpha, llama.cpp, Yandex
        ),
        "tool_calls": ("tool_calls tool_call tool_use function_call tools tool function",),
        "content_filter": (
            "content_filter jailbreak content_policy_violation moderation blocked",
            "safety recitation language blocklist prohibited_content spii model_armor",  # Gemini
            "image_safety image_prohibited_content image_recitation",  # Gemini
            "refusal content_filtered guardrail_intervened",  # Anthropic, Bedrock
            "sensitive blacklist error_toxic",  # Z.ai, GigaChat, Cohere
        ),
    }
)
"""By a vendor's word in lower case."""

FAILURES = frozenset(
    words(
        "aborted canceled timed_out overloaded engine_overloaded rate_limit rate_limited rate_limit_exceeded interrupted",
        "terminated preempted disconnected unavailable service_unavailable resource_exhausted",
        "insufficient_system_resource abort cancelled",  # DeepSeek; vLLM, SGLang; watsonx
        "user_cancel timeout user_stopped model_unloaded",  # Cohere, LM Studio
    )
)
"""The words of an answer that a vendor broke off, beside those that end in ``error``, ``exception`` or ``failed``."""

_KINDS = tuple(
    (re.compile(pattern), common)
    for pattern, common in (
        (r"(?:^|_)(?:tools?|functions?)_(?:calls?|use|stop)", "tool_calls"),
        (r"^eos_|(?:^|_)stop_(?:tokens?|words?|strings?|ids?)$", "stop"),
        (r"token|length|context|budget|(?:^|_)max_|truncat|_limit$", "length"),
        (
            r"filter|safety|sensitiv|polic|moderat|violat|guardrail|prohibit|blocked|flagged|refus|censor|copyright|toxic|unsafe",
            "content_filter",
        ),
        (r"^(?:end|stop|natural)_|_(?:stop|end|eos|sequences?)$", "stop"),
    )
)
"""The meaning of words that are in no table, such as ``max_output_tokens_reached``, by their parts; the first pattern counts."""
_BREACHES = re.compile(
    r"abort|cancel|crash|disconnect|dropped|evict|insufficient|interrupt|killed|out_of_memory|^oom$|overload|over_capacity|preempt"
    r"|shutdown|shed$|stalled|terminated|throttl|time(?:d_)?out|deadline|unavailable|connection_|incomplete_stream"
)
"""Parts of end words that no table has and that mean a failure."""

_LIMITS = frozenset({"rate_limit", "rate_limited", "rate_limit_exceeded"})
_FAILED = re.compile(r"(?:^|_)(?:errors?|errored|exception|fail(?:ed|ure)?)$")
"""``network_error`` (Z.ai), ``model_error``; plain ``error`` is what OpenRouter, vLLM, Mistral, Cohere and watsonx say."""

UNREADABLE = frozenset(
    words(
        "malformed_function_call malformed_response unexpected_tool_call too_many_tool_calls",  # Gemini
        "missing_thought_signature no_image",  # Gemini
        "function_call_filter",  # Google's chat endpoint, with Gemini's word behind a colon
        "malformed_tool_use malformed_model_output malformed_tool_call",  # Bedrock
    )
)
"""End words of an answer that cannot be used: the model wrote a malformed call, or not what was asked for."""

_PREFIX = re.compile(r"^(?:(?:finish|stop)_?reason[_.]+|reason_|alternative_status_)")
"""What vendors put before the word, as in ``FINISH_REASON_STOP`` (Google), ``REASON_STOP`` (xAI), ``ALTERNATIVE_STATUS_FINAL``."""
_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


_SILENT = frozenset({"", "null", "none", "undefined", "unspecified", "not_finished", "in_progress", "partial"})
"""Words of an answer that has not ended: DashScope's ``"null"``, watsonx's ``not_finished``, Google's zero value."""


def ends(raw: Any) -> bool:
    """Whether a word says why an answer ended."""
    return isinstance(raw, str) and (raw in COMMON or plain(raw) not in _SILENT)


def word_in(raw: Any) -> Any:
    """The word where it stands in an object or a list, as SGLang's ``{"type": "stop", "matched": 2}``."""
    if isinstance(raw, dict):
        return raw.get("type") or raw.get("reason")
    return raw[0] if isinstance(raw, list) and raw else raw


def plain(raw: str) -> str:
    """A vendor's word in the spelling of the tables; what follows a colon, as in ``content_filter: RECITATION``, is left out."""
    if raw in COMMON:
        return raw
    word = raw.partition(":")[0].strip()
    if not (word.islower() or word.isupper()):
        word = _HUMP.sub("_", word)
    return _PREFIX.sub("", word.lower().replace("-", "_").replace(" ", "_"))


def finish_of(raw: Any, *, called: bool = False) -> str | None:
    """The common word for why an answer ended, or the vendor's in lower case; ``None`` if there is none, or it tells of a failure.

    Many vendors end an answer with calls like any other: a plain end is ``tool_calls`` where the model ``called`` something.
    """
    common = COMMON.get(raw) if isinstance(raw, str) else None
    if common is None:
        if not ends(raw):
            return None
        word = plain(raw)
        if _is_failure(word):
            return word if word in UNREADABLE else None
        common = COMMON.get(word) or _guess(word) or raw.lower()
    return "tool_calls" if called and common == "stop" else common


def _guess(word: str) -> str | None:
    return next((common for pattern, common in _KINDS if pattern.search(word)), None)


def _is_failure(word: str) -> bool:
    if word in COMMON:
        return False
    return word in FAILURES or word in UNREADABLE or _FAILED.search(word) is not None or _BREACHES.search(word) is not None


def error_of(raw: Any) -> DispatchError | None:
    """The error that a word of failure stands for; ``None`` for all other words."""
    if not isinstance(raw, str) or raw in COMMON or not _is_failure(word := plain(raw)):
        return None
    if word in UNREADABLE:
        return MalformedReply(f"the model's answer cannot be used: it ended with {word!r}", code=word, sent=True)
    kind = RateLimitError if word in _LIMITS else StreamInterrupted
    return kind(f"the vendor broke the answer off: it ended with {word!r}", code=word, sent=True)


def raise_broken(raw: Any) -> None:
    """Raise the error that a word of failure stands for."""
    error = error_of(raw)
    if error is not None:
        raise error


def reason_for(reason: str | None, *, called: bool) -> str:
    """The reason to write for an answer: a plain end has no calls, and only an answer in which calls are written ends with them."""
    if reason is None or canonical_reason(reason) in ("stop", "tool_calls"):
        return "tool_calls" if called else "stop"
    return reason


def canonical_reason(reason: str | None) -> str | None:
    """A reason as one of the four common words; ``None`` where it is none of them, such as a pause."""
    if reason is None:
        return None
    word = plain(reason)
    return COMMON.get(word) or (None if _is_failure(word) else _guess(word))
