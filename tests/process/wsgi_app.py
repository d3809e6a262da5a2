"""A small WSGI app for gunicorn and uWSGI. Its dispatcher is made, and used, when the module is loaded: before the fork where
the server preloads."""

import os
import queue
import time
from pathlib import Path

from llmdispatcher import ChannelClosed, Dispatcher, DispatchError, OpenAIVendor, Request

dispatcher = Dispatcher()
dispatcher.register_vendor(OpenAIVendor(api_key="sk-process-0123456789", base_url=os.environ["VENDOR_URL"], trust_env=False))
if "send" in os.environ.get("WARM", ""):
    dispatcher.send(Request("gpt-4o", "warm"))
if "stream" in os.environ.get("WARM", ""):
    dispatcher.send_streaming(Request("gpt-4o", "warm")).response()


def application(environ, start_response):
    """/send/WORD, /stream/WORD and /beat/WORD ask the vendor for the word; a failure is an event of its own."""
    _, verb, word = environ["PATH_INFO"].split("/")
    start_response("200 OK", [("Content-Type", "text/plain"), ("X-Pid", str(os.getpid()))])
    request = Request("gpt-4o", word, max_tokens=100_000)
    return {"send": answered, "stream": streamed, "beat": beating}[verb](request)


def answered(request):
    """The answer in one piece."""
    try:
        return [dispatcher.send(request, timeout=60).content.encode()]
    except DispatchError as error:
        return [f"error: {type(error).__name__}".encode()]


def streamed(request):
    """The answer in pieces, and at the end an event that says how it ended."""
    try:
        with dispatcher.send_streaming(request, timeout=60) as stream:
            for chunk in stream:
                yield chunk.content.encode()
        yield b"\nend"
    except DispatchError as error:
        yield f"\nerror: {type(error).__name__}: {error}".encode()


def beating(request):
    """The answer in pieces, and a comment where half a second brings none; when it is over is noted in the file ``GONE``."""
    try:
        with dispatcher.send_streaming(request, timeout=60) as stream:
            while True:
                try:
                    yield stream.content_channel.get(timeout=0.5).content.encode()
                except ChannelClosed:
                    break
                except queue.Empty:
                    yield b": still there\n"
    finally:
        Path(os.environ["GONE"]).write_text(str(time.monotonic()))
