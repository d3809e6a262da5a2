"""README's second example, as a new user runs it: start, ask with curl, with the openai SDK, with the anthropic SDK."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ..orphans import mortal
from ..sdks.conftest import PYTHON
from .processes import end
from .test_serve import _awaited, _environment, _free_port

pytest.importorskip("granian", reason="granian is not installed; scripts/test installs it")
README = Path(__file__).parents[2] / "README.md"
COMMAND = "llmdispatcher serve --simulate"


@pytest.fixture
def started(tmp_path):
    """The service that the first line starts: its address, and the key out of the file that it wrote."""
    port, home = _free_port(), tmp_path
    words = [*COMMAND.split()[1:], "--port", str(port), "--drain", "1"]
    with (home / "log").open("wb") as log:
        process = subprocess.Popen(
            mortal([sys.executable, "-m", "llmdispatcher", *words], ending=signal.SIGTERM),
            env=_environment(home),
            stdout=log,
            stderr=log,
        )
        try:
            url = _awaited(f"http://127.0.0.1:{port}", process, home)
            shown = next(home.rglob("first-keys-*.txt")).read_text()
            yield url, re.findall(r"llmr_pk_\w+", shown)[-1]
        finally:
            end(process)


def test_the_second_example_runs(started):
    """Curl shows a chat completion, and each SDK prints an answer."""
    if not (PYTHON.parents[1] / ".installed").exists() or shutil.which("curl") is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(
            "curl and the SDKs are needed: scripts/test tests/sdks installs these"
        )
    url, key = started
    block = next(one for one in re.findall(r"```bash\n(.*?)```", README.read_text(encoding="utf-8"), re.S) if COMMAND in one)
    script = block.partition("\n")[2].replace("http://127.0.0.1:8080", url).replace("llmr_pk_...", key)
    path = f"{PYTHON.parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-ec", script], env={"PATH": path, "PYTHONUTF8": "1"}, capture_output=True, text=True, timeout=120
    )

    assert 0 == done.returncode, done.stderr
    told, end = json.JSONDecoder().raw_decode(done.stdout)
    assert told["choices"][0]["message"]["content"], done.stdout
    assert 2 == len([line for line in done.stdout[end:].splitlines() if line.strip()]), done.stdout
