"""A Django and Celery project of 640 lines on LiteLLM moves by its import lines alone."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from llmdispatcher import ToolCall
from llmdispatcher.testing import SimulatedResponse, VendorSimulator, faults

pytest.importorskip("django", reason="Django is not installed; scripts/test installs it")
pytest.importorskip("celery", reason="Celery is not installed; scripts/test installs it")

HERE = Path(__file__).parent
LOOK_UP = SimulatedResponse(tool_calls=[ToolCall(id="c1", name="order_status", arguments='{"number": "4711"}')])


def moved(text):
    """The text of a file with its imports of LiteLLM changed, and nothing else."""
    text = re.sub(r"^import litellm$", "from llmdispatcher.integrations import litellm", text, flags=re.MULTILINE)
    return re.sub(r"^from litellm\b", "from llmdispatcher.integrations.litellm", text, flags=re.MULTILINE)


@pytest.fixture
def project(tmp_path):
    """A copy of the project, moved; and how many lines of it have changed."""
    folder, changed, lines = tmp_path / "desk", 0, 0
    shutil.copytree(HERE / "litellm_desk", folder, ignore=shutil.ignore_patterns("__pycache__"))
    for file in folder.rglob("*.py"):
        before, after = file.read_text(), moved(file.read_text())
        file.write_text(after)
        changed += sum(one != other for one, other in zip(before.splitlines(), after.splitlines(), strict=True))
        lines += len(before.splitlines())
    return folder, changed, lines


def test_a_project_moves(project, tmp_path):
    """Its first vendor fails, its second overflows, refuses and fails at last: a day of the desk goes on as with LiteLLM."""
    folder, changed, lines = project
    with ExitStack() as stack:
        servers = {name: stack.enter_context(VendorSimulator()) for name in ("primary", "second", "backup", "long", "vectors")}
        servers["primary"].always(faults.status(500))
        servers["second"].script("It is scattered light.", "More of it.", LOOK_UP, "It comes on Friday.")
        servers["second"].script(faults.context_overflow(), faults.filtered(), "Brakes squeal.")
        servers["second"].script('{"category": "repair", "urgency": 2}')
        servers["second"].always(faults.status(503))
        servers["backup"].always("The backup answers.")
        servers["long"].always("The long one answers.")
        environment = {
            **os.environ,
            "DESK_PRIMARY": servers["primary"].openai_url,
            "DESK_SECOND": servers["second"].openai_url,
            "DESK_BACKUP": servers["backup"].anthropic_url,
            "DESK_LONG": servers["long"].google_url,
            "DESK_VECTORS": servers["vectors"].openai_url,
            "DESK_PRIMARY_KEY": "sk-primary-000",
            "DESK_BACKUP_KEY": "sk-backup-0000",
            "DESK_LONG_KEY": "sk-long-000000",
            "DESK_DATABASE": str(tmp_path / "desk.sqlite3"),
            "DESK_BROKER": "memory://",
            "DESK_RESULTS": "cache+memory://",
            "DESK_CUSTOMER_BUDGET": "0.05",
        }
        done = subprocess.run(
            [sys.executable, str(HERE / "litellm_desk_run.py"), str(folder)],
            env=environment,
            capture_output=True,
            text=True,
            timeout=240,
        )
    assert 0 == done.returncode, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    calls = told["calls"]

    assert (7, True) == (changed, lines > 500)
    assert (200, "It is scattered light.") == (told["ask"][0], told["ask"][1]["answer"])
    assert told["ask"][1]["cost"] > 0
    assert [[200, "More of it."], [200, {"answer": "It comes on Friday."}]] == [told["stream"], told["order"]]
    assert ["gemini-2.5-flash", "gemini-2.5-flash"] == [told[name][1]["model"] for name in ("too long", "refused")]
    assert 402 == told["poor"]
    assert (2, ["Brakes", "Lights"]) == (told["indexed"], told["search"]["titles"])
    assert {"summary": "Brakes squeal.", "category": "repair", "urgency": 2, "state": "ready"}.items() <= told["case"][1].items()
    assert ["claude-haiku-4-5", "claude-haiku-4-5"] == [told[name][1]["model"] for name in ("outage", "after")]
    assert 0 < told["budget"]["ann"]["spent"] < told["budget"]["ann"]["total"] == 0.05
    assert {"", "ann", "ben", "cat"} == set(told["report"])
    failed = [row["error"] for row in calls if row["status"] == "failure"]
    assert failed.count("InternalServerError") == len(servers["primary"].requests)
    assert {"ContextWindowExceededError", "ContentPolicyViolationError", "ServiceUnavailableError"} <= set(failed)
    assert sorted(failed) == told["failures"]
    assert len(calls) == sum(len(server.requests) for server in servers.values())
    assert {"default", "summaries", "long", "vectors", "backup"} == {row["group"] for row in calls}
