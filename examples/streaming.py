"""Streams as a Go programmer reads them: three channels and a cancellation. ``python -m examples.streaming``."""

import queue

from llmdispatcher import Cancellation, ChannelClosed, Dispatcher, Request, StreamingResponse

PATIENCE = 5.0
"""Seconds without a word after which this reader gives up."""


def read(stream: StreamingResponse, cancel: Cancellation) -> str:
    """Print chunks as they come; gives what was said, and raises what went wrong."""
    said = []
    try:
        while True:
            chunk = stream.content_channel.get(timeout=PATIENCE)
            print(chunk.content, end="", flush=True)
            said.append(chunk.content)
    except ChannelClosed:
        pass
    except queue.Empty:
        cancel.cancel(f"nothing came for {PATIENCE:g} s")
    if not stream.done_channel.get():
        raise stream.error_channel.get()
    return "".join(said)


def main() -> None:
    """Stream one answer."""
    cancel = Cancellation()
    request = Request("claude-haiku-4-5", "Explain backpressure with a kitchen sink.", max_tokens=200)
    with Dispatcher.from_env() as dispatcher, dispatcher.send_streaming(request, cancel=cancel) as stream:
        read(stream, cancel)
        print(f"\n{stream.vendor}:{stream.model}, {stream.usage.total_tokens} tokens, US$ {stream.cost}")


if __name__ == "__main__":
    main()
