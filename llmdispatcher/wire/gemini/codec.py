"""The codec of Google's generateContent and streamGenerateContent. https://ai.google.dev/api/generate-content"""

from ...types import name_in_path
from ..base import Codec
from .fields import NAME
from .request import encode
from .response import GeminiDecoder, decode
from .server_request import read_request
from .server_response import ContentWriter, refusal, write_response


def path(model: str, stream: bool) -> str:
    """The model is part of the path; a stream is asked for as server-sent events."""
    method = "streamGenerateContent?alt=sse" if stream else "generateContent"
    return f"/{'' if '/' in model else 'models/'}{name_in_path(model)}:{method}"


GEMINI = Codec(
    name=NAME,
    path=path,
    encode=encode,
    decode=decode,
    decoder=GeminiDecoder,
    content_type="text/event-stream",
    read_request=read_request,
    write_response=write_response,
    writer=ContentWriter,
    write_error=refusal,
)
