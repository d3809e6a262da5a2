"""Google's generateContent and streamGenerateContent. https://ai.google.dev/api/generate-content"""

from __future__ import annotations

from urllib.parse import quote

from ..errors import DispatchError, InvalidRequest
from ..response_values import Response
from ..types import Request
from .base import Inbound
from .gemini_answer import GeminiDecoder
from .gemini_inbound import inbound
from .gemini_outbound import ContentWriter, refusal, whole
from .gemini_request import encoded
from .gemini_words import NAME
from .payload import dump


class Gemini:
    """The codec; without state."""

    name = NAME
    content_type = "text/event-stream"

    def path(self, model: str, *, stream: bool) -> str:
        """The model is part of the path; a stream is asked for as server-sent events."""
        if ".." in model.split("/"):
            raise InvalidRequest(f"model: {model!r} is not a model's name")
        method = "streamGenerateContent?alt=sse" if stream else "generateContent"
        return f"/{quote(model if '/' in model else f'models/{model}')}:{method}"

    def encode(self, request: Request, *, stream: bool, quirks: frozenset[str] = frozenset()) -> bytes:
        """The JSON body of a request; whether a stream is wanted is said in the path."""
        return dump(encoded(request, quirks), request, self.name)

    def decode(self, body: bytes) -> Response:
        """A whole answer, or the array of pieces that a stream without ``alt=sse`` is."""
        return GeminiDecoder().read_whole(body)

    def decoder(self) -> GeminiDecoder:
        """A fresh decoder for one stream."""
        return GeminiDecoder()

    def read_request(self, body: bytes, path: str = "") -> Inbound:
        """The request in a body that was sent to ``path``, which names the model."""
        return inbound(body, path)

    def write_response(self, response: Response) -> bytes:
        """The body of a whole answer."""
        return whole(response)

    def writer(self, asked: Inbound | None = None) -> ContentWriter:
        """A fresh writer for one stream."""
        return ContentWriter(asked)

    def write_error(self, error: DispatchError) -> tuple[int, bytes]:
        """Status and body of a refusal."""
        return refusal(error)


GEMINI = Gemini()
