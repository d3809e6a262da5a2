"""The codec of Ollama's chat API. https://docs.ollama.com/api/chat"""

from ..base import Codec
from .request import NAME, encode
from .response import OllamaDecoder, decode
from .server_request import read_request
from .server_response import OllamaChatWriter, refusal, write_response

OLLAMA_CHAT = Codec(
    name=NAME,
    path=lambda _model, _stream: "/api/chat",
    encode=encode,
    decode=decode,
    decoder=OllamaDecoder,
    content_type="application/x-ndjson",
    read_request=read_request,
    write_response=write_response,
    writer=OllamaChatWriter,
    write_error=refusal,
)
