"""Wire formats as pure codecs, in both directions. Whatever the bytes, they raise only the library's own errors."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._lazy import door

if TYPE_CHECKING:
    from .anthropic.codec import ANTHROPIC_MESSAGES as ANTHROPIC_MESSAGES
    from .anthropic.fields import anthropic_usage as anthropic_usage
    from .base import Bounds as Bounds
    from .base import Codec as Codec
    from .base import Inbound as Inbound
    from .base import InboundRequest as InboundRequest
    from .base import StreamDecoder as StreamDecoder
    from .base import StreamWriter as StreamWriter
    from .codecs import CODECS as CODECS
    from .codecs import codec_for as codec_for
    from .counting import COUNTING as COUNTING
    from .counting import LISTINGS as LISTINGS
    from .embeddings import EMBEDDING_CODECS as EMBEDDING_CODECS
    from .embeddings import numbers_in as numbers_in
    from .encoding import telling_dropped as telling_dropped
    from .error_tables import STATUSES as STATUSES
    from .errors import fault as fault
    from .errors import is_about_model as is_about_model
    from .errors import rate_limit_remaining as rate_limit_remaining
    from .errors import request_id as request_id
    from .finish import raise_broken as raise_broken
    from .gemini.codec import GEMINI as GEMINI
    from .gemini.fields import gemini_usage as gemini_usage
    from .limits import ToolNames as ToolNames
    from .limits import within_limits as within_limits
    from .ollama.codec import OLLAMA_CHAT as OLLAMA_CHAT
    from .ollama.request import ollama_usage as ollama_usage
    from .openai_chat.codec import OPENAI_CHAT as OPENAI_CHAT
    from .openai_chat.fields import openai_chat_usage as openai_chat_usage
    from .openai_responses.codec import OPENAI_RESPONSES as OPENAI_RESPONSES
    from .openai_responses.response import openai_responses_usage as openai_responses_usage
    from .shaping import without_idle_choice as without_idle_choice
    from .shaping import without_refused as without_refused
else:
    __getattr__, __dir__ = door(
        __name__,
        {
            "anthropic.fields": ("anthropic_usage",),
            "anthropic.codec": ("ANTHROPIC_MESSAGES",),
            "base": ("Bounds", "Codec", "Inbound", "InboundRequest", "StreamDecoder", "StreamWriter"),
            "codecs": ("CODECS", "codec_for"),
            "counting": ("COUNTING", "LISTINGS"),
            "embeddings": ("EMBEDDING_CODECS", "numbers_in"),
            "encoding": ("telling_dropped",),
            "errors": ("fault", "is_about_model", "rate_limit_remaining", "request_id"),
            "error_tables": ("STATUSES",),
            "finish": ("raise_broken",),
            "gemini.fields": ("gemini_usage",),
            "gemini.codec": ("GEMINI",),
            "ollama.codec": ("OLLAMA_CHAT",),
            "ollama.request": ("ollama_usage",),
            "openai_chat.codec": ("OPENAI_CHAT",),
            "openai_chat.fields": ("openai_chat_usage",),
            "openai_responses.codec": ("OPENAI_RESPONSES",),
            "openai_responses.response": ("openai_responses_usage",),
            "limits": ("ToolNames", "within_limits"),
            "shaping": ("without_idle_choice", "without_refused"),
        },
    )
