"""The codec of OpenAI's Responses API. https://platform.openai.com/docs/api-reference/responses"""

from ..base import Codec
from ..server_errors import openai_refusal
from .request import NAME, encode
from .response import ResponsesDecoder, decode
from .server_request import read_request
from .server_response import ResponsesWriter, write_response

OPENAI_RESPONSES = Codec(
    name=NAME,
    path=lambda _model, _stream: "/responses",
    encode=encode,
    decode=decode,
    decoder=ResponsesDecoder,
    content_type="text/event-stream",
    read_request=read_request,
    write_response=write_response,
    writer=ResponsesWriter,
    write_error=openai_refusal,
)
