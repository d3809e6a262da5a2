"""The codec of OpenAI's chat completions API, as OpenAI, Azure and every compatible server speak it.

https://platform.openai.com/docs/api-reference/chat; deviations of compatible servers are those recorded from real traffic.
"""

import attrs

from ..base import Codec
from ..server_errors import openai_refusal
from .fields import NAME
from .request import encode
from .response import ChatDecoder, TaggedDecoder, decode, decode_tagged
from .server_request import read_request
from .server_response import ChatWriter, write_response

OPENAI_CHAT = Codec(
    name=NAME,
    path=lambda _model, _stream: "/chat/completions",
    encode=encode,
    decode=decode,
    decoder=ChatDecoder,
    content_type="text/event-stream; charset=utf-8",
    read_request=read_request,
    write_response=write_response,
    writer=ChatWriter,
    write_error=openai_refusal,
)
OPENAI_CHAT_TAGGED = attrs.evolve(OPENAI_CHAT, decode=decode_tagged, decoder=TaggedDecoder)
"""The same for models with the quirk ``think_tags``, which write their thoughts into the text."""
