"""The table of wire formats by name. A new format is a folder in this room and a line here."""

from __future__ import annotations

from collections.abc import Mapping

from .anthropic.codec import ANTHROPIC_MESSAGES
from .base import Codec
from .gemini.codec import GEMINI
from .ollama.codec import OLLAMA_CHAT
from .openai_chat.codec import OPENAI_CHAT, OPENAI_CHAT_TAGGED
from .openai_responses.codec import OPENAI_RESPONSES

CODECS: Mapping[str, Codec] = {each.name: each for each in (OPENAI_CHAT, OPENAI_RESPONSES, ANTHROPIC_MESSAGES, GEMINI, OLLAMA_CHAT)}


def codec_for(name: str, quirks: frozenset[str]) -> Codec:
    """The codec of that name, for a model with some quirks: one that writes its thoughts into its text is read with care."""
    return OPENAI_CHAT_TAGGED if "think_tags" in quirks and name == OPENAI_CHAT.name else CODECS[name]
