"""What is loaded when, which threads run, and which loggers there are: each looked at in a process of its own.

The vendor is simulated in this process, so that nothing of the simulator is loaded in the one that is looked at.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from llmdispatcher.testing import VendorSimulator

from .shaping import as_text
from .surroundings import clean

ROOT = Path(__file__).resolve().parents[2]
WATCHED = (
    *("alembic", "attr", "attrs", "backoff", "cattrs", "certifi", "click", "cryptography", "keyring", "limits", "matplotlib"),
    *("psycopg", "pyarrow", "redis", "requests", "rfc8785", "rich", "sqlalchemy", "sseclient", "tiktoken", "tomlkit", "urllib3"),
    *("asyncio", "concurrent.futures", "ctypes", "email", "fcntl", "html", "http.client", "http.server", "json", "multiprocessing"),
    *("sqlite3", "ssl", "subprocess", "tomllib", "unittest", "urllib.request", "uuid", "xml", "zoneinfo"),
)
"""Modules of others that cost time or memory: third-party ones, and the heavy ones of the standard library."""

_BEGIN = """
import os, sys
before = set(sys.modules)
WATCHED = os.environ["STORED_WATCHED"].split()
told = {}

def loaded():
    return sorted(name for name in WATCHED if name in sys.modules and name not in before)

def again(call):
    known = set(sys.modules)
    for _ in range(2):
        call()
    told["again"] = sorted(set(sys.modules) - known)

import llmdispatcher
told["import"] = loaded()
from llmdispatcher import Dispatcher, OpenAIVendor, Request
url, folder = os.environ["STORED_URL"], os.environ["STORED_FOLDER"]

def dispatcher(config=None, **settings):
    made = Dispatcher(config, **settings)
    made.register_vendor(OpenAIVendor(api_key="sk-0123456789abcdef", base_url=url, trust_env=False))
    told["dispatcher"] = loaded()
    return made

def request(**more):
    return Request("gpt-4o", "Why is the sky blue?", max_tokens=9, **more)
"""
_STAGES = """
for stage, program in STAGES.items():  # each in a child, which begins with what the import has loaded
    pid = os.fork()
    if pid:
        assert 0 == os.waitpid(pid, 0)[1], stage
        continue
    folder = os.path.join(folder, stage)
    os.mkdir(folder)
    exec(program, globals())
    call()
    told["loaded"] = loaded()
    again(call)
    made.close()
    import json
    print(json.dumps([stage, told]))
    break
"""
_SEND = "made.send(request())"

STAGES: dict[str, str] = {
    "a call": f"made = dispatcher()\ncall = lambda: {_SEND}",
    "a stream": "made = dispatcher()\ncall = lambda: list(made.send_streaming(request()))",
    "a cache in memory": f"made = dispatcher({{'cache': {{}}}})\ncall = lambda: {_SEND}",
    "a cache in a file": f"made = dispatcher({{'cache': {{'store': folder + '/answers.db'}}}})\ncall = lambda: {_SEND}",
    "a ledger": f"made = dispatcher(ledger=folder + '/ledger.db')\ncall = lambda: ({_SEND}, made.ledger.flush(60))",
    "all at once": """
from llmdispatcher import Receipts, SigningKey
config = {"cache": {}, "budgets": [{"limit": "5.00"}], "lockfile": True, "routing_rules": [{"vendor": "openai"}],
          "mode": "auto", "balance": "random", "hedge": {}, "continuation": True, "admission": True, "limits_storage": None}
made = dispatcher(config, ledger=folder + "/ledger.db")
receipts = Receipts(made.ledger, SigningKey.generate())

def call():
    made.send(request(response_format={"type": "json_object"}, profile="default", cache=False))
    made.explain(request(), streaming=True).as_dict()
    made.get_stats(), made.get_budgets()
    list(made.send_streaming(request(cache=True)))
    list(made.map([request()]))
    made.ledger.flush(60)
    receipts.create()
""",
}
"""What is set up and called: a dispatcher ``made``, and a ``call``."""

_THREADS = """
import contextlib, io, json, os, runpy, socket, sys, threading
names, start = set(), threading.Thread.start

def noted(self):
    names.add(self.name)
    return start(self)

threading.Thread.start = noted

def nowhere(*asked, **more):
    raise socket.gaierror(socket.EAI_NONAME, "there are no names here")

from llmdispatcher import Dispatcher, DispatchError, OpenAIVendor, Request, Response, ToolCall, tool
from llmdispatcher.testing import FakeVendor, VendorSimulator

@tool
def look(place: str) -> str:
    "Where something is."
    return place

asks = Response(tool_calls=tuple(ToolCall(id=str(n), name="look", arguments='{"place": "x"}') for n in range(2)))
folder = os.environ["STORED_FOLDER"]
config = {"cache": {}, "hedge": {"after": 0.01, "share": 1.0}, "budgets": [{"limit": "5.00", "unpriced": "allow"}],
          "health_interval": 3600, "registry": os.environ["STORED_REGISTRY"]}
ask = Request("gpt-4o", "Why?", max_tokens=9, cache=False)
with VendorSimulator(responses="Rayleigh scattering.") as simulator, Dispatcher(config, ledger=folder + "/threads.db") as made:
    made.register_vendor(OpenAIVendor(api_key="sk-0123456789abcdef", base_url=simulator.openai_url, trust_env=False))
    made.register_vendor(FakeVendor("Here.", name="other"))
    made.register_vendor(FakeVendor(asks, "Here.", name="tools"))
    simulator.latency = 0.3  # long enough for a hedge
    made.send(ask)
    simulator.latency = 0.0
    list(made.send_streaming(ask))
    list(made.send_streaming(Request("openai:gpt-4o", "Why?", max_tokens=9, cache=True)))
    stream = made.send_streaming(Request("openai:gpt-4o", "Why not?", max_tokens=9, cache=False))
    next(iter(stream))
    stream.close()
    made.run_tools(Request("tools:m", "Where?"), [look])
    list(made.map([ask, ask]))
    made.health_check()
    made.ledger.flush(60)
    resolve, socket.getaddrinfo = socket.getaddrinfo, nowhere
    lost = OpenAIVendor(name="lost", api_key="sk-0123456789abcdef", base_url="http://vendor.invalid/v1", trust_env=False)
    made.register_vendor(lost)
    with contextlib.suppress(DispatchError):
        made.send_to_vendor("lost", ask, timeout=0.5)
    socket.getaddrinfo = resolve

sys.argv = ["llmdispatcher", "ask", "--simulate", "-m", "gpt-4o", "Why?"]
with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
    runpy.run_module("llmdispatcher", run_name="__main__")
print(json.dumps(sorted(names)))
"""

_LOGGERS = """
import importlib, json, logging, pkgutil
import django, llmdispatcher
from django.conf import settings
apps = ["django.contrib.contenttypes", "django.contrib.auth", "django.contrib.admin", "llmdispatcher.integrations.django"]
settings.configure(INSTALLED_APPS=apps)
django.setup()  # its models and admin are imported by nobody else
for found in pkgutil.walk_packages(llmdispatcher.__path__, "llmdispatcher."):
    if not found.name.endswith("__main__") and "migrations" not in found.name:
        importlib.import_module(found.name)
known = logging.root.manager.loggerDict.items()
ours = sorted(name for name, one in known if isinstance(one, logging.Logger) and name.split(".")[0] == "llmdispatcher")
print(json.dumps(ours))
"""


def run(program: str, folder: Path, **more: str) -> list[Any]:
    """The lines of JSON that a program prints, run in a process of its own with nothing of the user's in its environment."""
    named = {f"STORED_{name.upper()}": value for name, value in more.items()} | {"STORED_FOLDER": str(folder)}
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=clean(folder) | named,
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def modules() -> str:
    """What the import loads, and what each stage has loaded after its first call. Raises where a later call loads anything."""
    found = _looked_at()
    late = {stage: one["again"] for stage, one in found.items() if one["again"]}
    assert {} == late, f"a call after the first loads modules: {late}"
    told: dict[str, Any] = {"import": found["a call"]["import"], "a dispatcher with a vendor": found["a call"]["dispatcher"]}
    return as_text(told | {stage: one["loaded"] for stage, one in found.items()})


def _looked_at() -> dict[str, dict[str, list[str]]]:
    """For each stage what was loaded at the import, with the dispatcher, by the first call, and again by later ones."""
    program = f"STAGES = {STAGES!r}\n{_BEGIN}\n{_STAGES}"
    with tempfile.TemporaryDirectory() as made, VendorSimulator(responses='{"sky": "blue"}') as simulator:
        return dict(run(program, Path(made), url=simulator.openai_url, watched=" ".join(WATCHED)))


def threads() -> str:
    """The names of the threads that the library starts, numbers left out."""
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        (folder / "registry").mkdir()
        (names,) = run(_THREADS, folder, registry=str(folder / "registry"))
    return "".join(f"{name}\n" for name in sorted({re.sub(r"\d+", "N", name) for name in names if not name.startswith("Thread-")}))


def loggers() -> str:
    """The names of the loggers that the package makes, all of it imported."""
    with tempfile.TemporaryDirectory() as made:
        (names,) = run(_LOGGERS, Path(made))
    return "".join(f"{name}\n" for name in names)
