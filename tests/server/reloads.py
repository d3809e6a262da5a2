"""Many reloads of a gateway in processes of its own, with a stream under way meanwhile.

``python -m tests.server.reloads`` makes fifty with granian and with gunicorn, and prints the figures; the short form is in
``test_reload.py``.
"""

from __future__ import annotations

import argparse
import tempfile
import threading
from pathlib import Path
from typing import Any

import attrs

from llmdispatcher.testing import VendorSimulator

from .away import _children
from .processes import Running, serving

_WORDS = 200
_MODELS = ("gpt-4o-mini", "gpt-4o")


@attrs.frozen
class Held:
    """What a process holds: open files and sockets, threads, and megabytes of memory."""

    files: int
    threads: int
    megabytes: int

    @classmethod
    def of(cls, pid: int) -> Held:
        """As Linux tells it."""
        lines = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
        return cls(len(list(Path(f"/proc/{pid}/fd").iterdir())), int(lines["Threads"]), int(lines["VmRSS"].split()[0]) >> 10)


def reload_again_and_again(home: Path, server: str, count: int) -> dict[str, Any]:
    """Reload both workers so often: nothing is dropped, and no file or thread is left behind. Returns the figures."""
    with VendorSimulator(responses=" ".join(["word"] * _WORDS)) as simulator:
        path = home / "llmdispatcher.toml"
        path.write_text(
            f'[pools]\nsmart = ["openai:{_MODELS[1]}"]\n[vendors.openai]\napi_key = "sk"\nbase_url = "{simulator.openai_url}"\n'
        )
        with serving(home, server, path, workers=2) as running:
            workers = _children(running.process.pid)
            _reload(running, path, 0)
            simulator.tokens_per_second = _WORDS / (2 * count + 10)
            lines: list[bytes] = []
            streaming = threading.Thread(target=_read, args=(running, lines))
            streaming.start()
            running.until(lambda: any(b"word" in line for line in lines))
            simulator.tokens_per_second = None
            statuses, held = [], []
            for number in range(1, count + 1):
                statuses += _reload(running, path, number)
                if number in (3, count):
                    held.append([Held.of(pid) for pid in workers])
            streaming.join()
            assert set(statuses) == {200}
            assert (b"".join(lines).count(b"word"), lines[-1]) == (_WORDS, b"data: [DONE]")
            assert workers == _children(running.process.pid)
            for before, after in zip(*held, strict=True):
                assert after.threads <= before.threads + 8, (before, after)
                assert after.files <= before.files + 8, (before, after)
    return {"reloads": count, "after 3": held[0], "after all": held[1]}


def _read(running: Running, lines: list[bytes]) -> None:
    with running.ask(stream=True) as answer:
        lines.extend(line for line in answer.iter_lines() if line)


def _reload(running: Running, path: Path, number: int) -> list[int]:
    """Name another model, and ask until each worker asks for it; returns the statuses. gunicorn logs no reload by itself."""
    model, statuses = _MODELS[number % 2], []
    fresh = path.with_name("fresh")
    fresh.write_text(path.read_text().replace(_MODELS[1 - number % 2], model))
    fresh.replace(path)

    def everywhere() -> bool:
        answers = [running.ask() for _ in range(8)]
        statuses.extend([one.status_code for one in answers])
        return {one.headers["x-llmdispatcher-model"] for one in answers} == {model}

    running.until(everywhere)
    return statuses


def main() -> None:
    """The long form."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--reloads", type=int, default=50)
    options = parser.parse_args()
    for server in ("granian", "gunicorn"):
        with tempfile.TemporaryDirectory() as name:
            print(f"{server}:", reload_again_and_again(Path(name), server, options.reloads), flush=True)


if __name__ == "__main__":
    main()
