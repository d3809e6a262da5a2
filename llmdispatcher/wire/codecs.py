"""The table of wire formats by name; a new one is a file of its own and a line here."""

from __future__ import annotations

from collections.abc import Mapping

from .anthropic_messages import ANTHROPIC_MESSAGES
from .base import ClientCodec
from .gemini import GEMINI
from .ollama_chat import OLLAMA_CHAT
from .openai_chat import OPENAI_CHAT
from .openai_responses import OPENAI_RESPONSES

CODECS: Mapping[str, ClientCodec] = {
    codec.name: codec for codec in (OPENAI_CHAT, OPENAI_RESPONSES, ANTHROPIC_MESSAGES, GEMINI, OLLAMA_CHAT)
}
