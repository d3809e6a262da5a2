"""A view that streams an answer to a browser, as plain WSGI; Flask and Django take the same generator.

``python -m examples.wsgi_view`` serves it on port 8000: http://127.0.0.1:8000/?q=Why+is+the+sky+blue
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any
from urllib.parse import parse_qs
from wsgiref.simple_server import make_server

from llmdispatcher import Dispatcher, DispatchError, Request, StreamingResponse

StartResponse = Callable[[str, list[tuple[str, str]]], Any]


def words(stream: StreamingResponse) -> Iterator[bytes]:
    """The answer piece by piece; a server that closes this early, because the browser has gone, stops the vendor too."""
    with stream:
        try:
            for chunk in stream:
                yield chunk.content.encode()
        except DispatchError as error:
            yield f"\n[{type(error).__name__}]".encode()


class Chat:
    """The application; one dispatcher serves all threads."""

    def __init__(self, dispatcher: Dispatcher, model: str = "gpt-4o-mini") -> None:
        self.dispatcher = dispatcher
        self.model = model

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        """Answer ``?q=``."""
        question = parse_qs(environ.get("QUERY_STRING", "")).get("q", [""])[0]
        if not question:
            start_response("400 Bad Request", [("Content-Type", "text/plain")])
            return [b"ask with ?q="]
        start_response("200 OK", [("Content-Type", "text/plain; charset=utf-8"), ("X-Accel-Buffering", "no")])
        return words(self.dispatcher.send_streaming(Request(self.model, question, max_tokens=300)))


def main() -> None:
    """Serve until interrupted."""
    with Dispatcher.from_env() as dispatcher, make_server("127.0.0.1", 8000, Chat(dispatcher)) as server:
        server.serve_forever()


if __name__ == "__main__":
    main()
