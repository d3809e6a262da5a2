"""Workers whose main process is killed: nobody tells them, and they end."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from pathlib import Path

import pytest

from llmdispatcher import Ledger
from llmdispatcher.testing import VendorSimulator

from .processes import serving
from .test_reload import _config

pytest.importorskip("granian", reason="granian is not installed; scripts/test installs it")


def _children(pid):
    """The processes that a process has started."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _is_there(pid):
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


@pytest.mark.skipif(not Path(f"/proc/{os.getpid()}/task").exists(), reason="it looks for processes in /proc")
@pytest.mark.parametrize("under_way", [False, True])
def test_workers_end_after_their_main_process(tmp_path, under_way):
    """Idle or with a stream that would go on for minutes; what they have to write is written."""
    path, ledger = tmp_path / "llmdispatcher.toml", tmp_path / "calls.db"
    with VendorSimulator(responses=" ".join(["word"] * 1000), tokens_per_second=4.0) as slow:
        path.write_text(_config(slow, more=f'ledger = "{ledger}"'))
        with serving(tmp_path, "granian", path, workers=2) as running, contextlib.ExitStack() as open_streams:
            workers = _children(running.process.pid)
            if under_way:
                answer = open_streams.enter_context(running.ask(stream=True))
                assert next(line for line in answer.iter_lines() if b'"content"' in line)
            running.process.send_signal(signal.SIGKILL)
            running.process.wait()
            assert len(workers) >= 2
            pause = threading.Event()
            assert any(not any(map(_is_there, workers)) or pause.wait(0.1) for _ in range(600)), running.log
            assert "the main process is gone" in running.log
    if under_way:
        calls = Ledger(ledger)
        assert 1 == len(calls.list_recent_calls())
        calls.close()
