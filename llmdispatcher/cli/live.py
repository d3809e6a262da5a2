"""Streamed answers: a few run ahead, the one at the front is printed while it arrives."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from typing import TextIO

from ..errors import Cancelled, DispatchError
from ..response_values import Response
from ..streaming import StreamingResponse
from .prompts import Mistake, Prompt
from .terminal import shown

Begun = StreamingResponse | DispatchError | None


def streamed(
    items: Iterable[Prompt | Mistake], begin: Callable[[Prompt | Mistake], Begun], ahead: int, out: TextIO | None
) -> Generator[Response | DispatchError | None]:
    """The results in the order of the items; streams ahead of the front one fill their channels, and then hold their vendors back.

    ``begin`` opens a stream, or gives the error or nothing in its place. Nothing is printed where ``out`` is ``None``.
    """
    opened: deque[tuple[Prompt | Mistake, Begun]] = deque()
    for item in items:
        opened.append((item, begin(item)))
        if len(opened) >= ahead:
            yield _result(*opened.popleft(), out)
    while opened:
        yield _result(*opened.popleft(), out)


def _result(item: Prompt | Mistake, begun: Begun, out: TextIO | None) -> Response | DispatchError | None:
    if not isinstance(begun, StreamingResponse):
        return begun
    try:
        with begun:
            _print(item, begun, out)
            return begun.response()
    except Cancelled:
        return None
    except DispatchError as error:
        return error


def _print(item: Prompt | Mistake, stream: StreamingResponse, out: TextIO | None) -> None:
    if out is None:
        return
    out.write(shown(f"[{item.id}] ", out))
    try:
        for chunk in stream:
            out.write(shown(chunk.content, out))
            out.flush()
    finally:
        out.write("\n\n")
        out.flush()
