"""The SDKs, each in a process of its own with the environment that ``scripts/test`` makes for them."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest

HERE = Path(__file__).parent
PYTHON = HERE.parents[1] / ".venv-sdks" / "bin" / "python"
_MISSING = "the vendors' SDKs are not installed: `scripts/test tests/sdks` does it (into .venv-sdks), given a package index"


@attrs.define(eq=False)
class Sdk:
    """An SDK at work: ``sdk(job, url, **asked)`` is what it understood."""

    process: subprocess.Popen[str]

    def tell(self, job: str, *url: str, **asked: Any) -> dict[str, Any]:
        """What came of a job: ``{"said": ...}`` or ``{"error": ...}``."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        fields = {"do": job, **({"url": url[0]} if url else {}), **asked}
        self.process.stdin.write(json.dumps(fields) + "\n")
        self.process.stdin.flush()
        told: dict[str, Any] = json.loads(self.process.stdout.readline() or '{"error": "the driver has ended"}')
        return told

    def __call__(self, job: str, *url: str, **asked: Any) -> Any:
        """What the SDK understood; fails where it raised."""
        told = self.tell(job, *url, **asked)
        assert "said" in told, told
        return told["said"]

    def error(self, job: str, *url: str, **asked: Any) -> Any:
        """What the SDK raised; fails where it did not."""
        told = self.tell(job, *url, **asked)
        assert "error" in told, told
        return told["error"]


def _driven(script: str) -> Iterator[Sdk]:
    if not (PYTHON.parents[1] / ".installed").exists():
        (pytest.fail if os.environ.get("CI") else pytest.skip)(_MISSING)
    kept = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "LANG", "TMPDIR")} | {"PYTHONUTF8": "1"}
    command = [str(PYTHON), str(HERE / script)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8", env=kept) as process:
        yield Sdk(process)
        assert process.stdin is not None
        process.stdin.close()


@pytest.fixture(scope="session")
def openai_sdk() -> Iterator[Sdk]:
    """OpenAI's."""
    yield from _driven("drive_openai.py")


@pytest.fixture(scope="session")
def anthropic_sdk() -> Iterator[Sdk]:
    """Anthropic's."""
    yield from _driven("drive_anthropic.py")


@pytest.fixture(scope="session")
def google_sdk() -> Iterator[Sdk]:
    """Google's."""
    yield from _driven("drive_google.py")
