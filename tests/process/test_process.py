"""The library in a process: importing it does nothing, no call needs an event loop, a stream stays with its process."""

from __future__ import annotations

import ast
import multiprocessing
import os
import re
from pathlib import Path

import llmdispatcher
from llmdispatcher import Dispatcher, OpenAIVendor, Request, StreamInterrupted
from llmdispatcher.testing import VendorSimulator

from ..conftest import PATIENCE
from .conftest import run

KEY = "sk-process-0123456789"


def test_importing_starts_nothing_opens_nothing_and_loads_no_http():
    """No thread, no descriptor, no environment, no requests, no asyncio."""
    done = run(
        """
        import os, sys, threading
        before = len(os.listdir("/proc/self/fd"))
        import llmdispatcher
        assert threading.active_count() == 1
        assert len(os.listdir("/proc/self/fd")) == before
        for name in ("requests", "urllib3", "asyncio", "attrs", "ssl"):
            assert name not in sys.modules, name
        """
    )

    assert (0, "") == (done.returncode, done.stderr)


def test_no_event_loop_in_a_whole_call():
    """A call and a stream from start to end work where no event loop can be made."""
    with VendorSimulator(responses="hello") as simulator:
        done = run(
            """
            import asyncio, sys
            from llmdispatcher import Dispatcher, OpenAIVendor, Request
            asyncio.new_event_loop = asyncio.get_event_loop = asyncio.run = None
            with Dispatcher() as dispatcher:
                dispatcher.register_vendor(OpenAIVendor(api_key="sk-process-0123456789", base_url=sys.argv[1], trust_env=False))
                assert dispatcher.send(Request("gpt-4o", "hi")).content == "hello"
                with dispatcher.send_streaming(Request("gpt-4o", "hi")) as stream:
                    assert "".join(chunk.content for chunk in stream) == "hello"
            """,
            simulator.openai_url,
        )

    assert (0, "") == (done.returncode, done.stderr)


def test_a_stream_belongs_to_the_process_that_began_it():
    """The child's copy of a handle says so at once instead of waiting for a worker that it does not have."""
    words = " ".join(["word"] * 300)
    with VendorSimulator(responses=words, tokens_per_second=200) as simulator, Dispatcher() as dispatcher:
        dispatcher.register_vendor(OpenAIVendor(api_key=KEY, base_url=simulator.openai_url, trust_env=False))
        stream = dispatcher.send_streaming(Request("gpt-4o", "talk", max_tokens=100_000))
        reader = iter(stream)
        first = next(reader).content
        child = multiprocessing.get_context("fork").Process(target=_read_inherited, args=(stream,))
        child.start()
        child.join(PATIENCE)
        child.kill()
        rest = "".join(chunk.content for chunk in reader)

    assert 0 == child.exitcode
    assert words == (first + rest).strip()


def _read_inherited(stream):
    try:
        list(stream)
    except StreamInterrupted:
        os._exit(0)
    os._exit(1)


LATE = {
    "accounting/budgets/reservation.py": {"spending_of"},  # the constructor of a dispatcher
    "accounting/ledger/ledger.py": {  # questions and the way to the database, which no call waits for
        *("migrate", "get_usage_stats", "list_recent_calls", "get_call", "get_attempts", "record", "_record_behind"),
        *(
            "export_usage_logs",
            "import_usage_logs",
            "prune",
            "log_call",
            "log_llm_call",
            "rebuild_rollups",
            "check_rollups",
            "erase_user",
        ),
        *("is_there", "foreign_tables", "refresh_models", "list_models", "get_model"),
        *("connections", "row_writer"),  # under the lock that a fork waits for
    },
    "cache/stores.py": {"_make_opener", "inspect_store"},  # the constructor of a cache; a question of the command line
    "catalog/lockfile/aliases.py": {"_read"},  # a lockfile is read when the first name is looked up
    "catalog/lockfile/lockfile.py": {"text_of"},  # a lockfile is saved
    "dispatcher/config.py": {"_registry"},  # the constructor of a configuration
    "dispatcher/dispatcher.py": {"__init__", "_ledger_at"},  # the constructor of a dispatcher
    "integrations/litellm/costs.py": {"validate_environment"},  # a question of a script
    "integrations/django/__init__.py": {"signed_in_user"},  # Django's own users, once its settings are there
    "integrations/litellm/proxy_config.py": {"_parse"},  # a question of the command line
    "server/gateway/usage.py": {"_receipt"},  # receipts need an extra of their own
    "server/serve.py": {  # before the first request
        *("_metrics_of_workers", "_serve_with_granian", "_serve_with_waitress", "_simulated", "make_application"),
    },
    "types/remote.py": {"_proxy"},  # the constructor of the settings of what is fetched
    "vendors/raw.py": {"retry"},  # a raw call that repeats is the user's own
    "runtime/environment.py": {"state_folder"},  # the constructor of a ledger on a server
    "resilience/limits.py": {"_open_storage"},  # the first count that another process shares
}
"""Functions that load what only some users need."""
TYPES_ONLY = re.compile(r"^if TYPE_CHECKING:\n(    .*\n|\n)+", re.MULTILINE)
INDENTED = re.compile(r"^\s+(import|from) ", re.MULTILINE)


def importing(tree: ast.AST, function: str = "") -> set[str]:
    """Names of the functions that have an import in them, each the innermost."""
    found: set[str] = set()
    for node in ast.iter_child_nodes(tree):
        if function and isinstance(node, ast.Import | ast.ImportFrom):
            found.add(function)
        found |= importing(node, node.name if isinstance(node, ast.FunctionDef) else function)
    return found


def test_nothing_is_imported_in_the_middle_of_a_call():
    """A fork while another thread imports leaves the child an import lock that nobody opens: imports stand at the top."""
    package = Path(llmdispatcher.__file__).parent
    late: dict[str, set[str]] = {}
    for file in package.rglob("*.py"):
        if {"cli", "testing"} & set(file.relative_to(package).parts):
            continue
        text = file.read_text("utf-8")
        if INDENTED.search(TYPES_ONLY.sub("", text)) and (names := importing(ast.parse(text))):
            late[file.relative_to(package).as_posix()] = names

    assert late == LATE
