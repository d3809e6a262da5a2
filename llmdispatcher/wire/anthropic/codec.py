"""The codec of Anthropic's Messages API, version 2023-06-01. https://platform.claude.com/docs/en/api/messages"""

from ..base import Codec
from .fields import NAME
from .request import encode
from .response import MessagesDecoder, decode
from .server_request import read_request
from .server_response import MessagesWriter, refusal, write_response

ANTHROPIC_MESSAGES = Codec(
    name=NAME,
    path=lambda _model, _stream: "/v1/messages",
    encode=encode,
    decode=decode,
    decoder=MessagesDecoder,
    content_type="text/event-stream; charset=utf-8",
    read_request=read_request,
    write_response=write_response,
    writer=MessagesWriter,
    write_error=refusal,
)
