"""Django: a project behind a real server, its checks and its commands."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from llmdispatcher.testing import VendorSimulator, faults

from ..orphans import mortal

pytest.importorskip("django", reason="Django is not installed; scripts/test installs it")

SERVE = """
from wsgiref.simple_server import WSGIServer, make_server
from socketserver import ThreadingMixIn
from tests.integrations.django_shop import application

class Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True

with make_server("127.0.0.1", 0, application, Server) as server:
    print(server.server_port, flush=True)
    server.serve_forever()
"""


@pytest.fixture
def simulator():
    """A vendor on the loopback."""
    with VendorSimulator(responses="It is blue.") as running:
        yield running


@pytest.fixture
def environment(simulator, tmp_path):
    """The variables of a process of the project."""
    config = tmp_path / "llm.toml"
    config.write_text(
        f'retry_policy = {{ max_retries = 0 }}\n[vendors.openai]\napi_key = "sk"\nbase_url = "{simulator.openai_url}"\n'
    )
    return {**os.environ, "SHOP_CONFIG": str(config)}


@pytest.fixture
def shop(environment):
    """A function that gets a path of the running project: status, headers and body."""
    command = mortal([sys.executable, "-c", SERVE])
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment, text=True) as process:
        port = int(process.stdout.readline())

        def get(path):
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/{path}", timeout=120) as reply:
                    return reply.status, dict(reply.headers), reply.read().decode()
            except urllib.error.HTTPError as error:
                with error:
                    return error.code, dict(error.headers), error.read().decode()

        yield get
        process.kill()


COMMANDS = """
import io, json
from tests.integrations.django_shop import application
from django.core.management import call_command
told = {}
ask = ["ask", "Why?", "--max-tokens", "50", "--model", "gpt-4o-mini"]
for words in (["check"], ["llmdispatcher", "health"], ["llmdispatcher", *ask]):
    out, errors = io.StringIO(), io.StringIO()
    call_command(*words, stdout=out, stderr=errors)
    told[words[-1]] = out.getvalue(), errors.getvalue()
print(json.dumps(told))
"""


def run(environment, *words):
    """Exit code, output and errors of a process of the project."""
    done = subprocess.run([sys.executable, *words], env=environment, capture_output=True, text=True, timeout=200)
    return done.returncode, done.stdout, done.stderr


def test_views(shop, simulator):
    """A whole answer, its events, and failures with their status."""
    status, _headers, body = shop("ask")
    streamed, headers, text = shop("stream")
    simulator.script(faults.status(429))
    refused = shop("ask")
    unknown = shop("ask?model=anthropic:claude-haiku-4-5")
    simulator.script(faults.status(500))
    broken = shop("stream")

    assert (200, "It is blue.") == (status, body)
    assert (200, "text/event-stream; charset=utf-8") == (streamed, headers["Content-Type"])
    assert "It is blue." == "".join(
        json.loads(line[6:]).get("content", "") for line in text.splitlines() if line.startswith("data: ")
    )
    assert (503, {"error": "RateLimitError"}) == (refused[0], json.loads(refused[2]))
    assert (500, {"error": "ConfigError"}) == (unknown[0], json.loads(unknown[2]))
    assert (502, {"error": "VendorUnavailable"}) == (broken[0], json.loads(broken[2]))


def test_checks_and_commands(environment, simulator, tmp_path):
    """`manage.py check` finds a mistake in the setting; the command tells health, and asks."""
    code, told, errors = run(environment, "-c", COMMANDS)
    wrong = tmp_path / "wrong.toml"
    wrong.write_text("timeot = 3\n")
    bad = run({**environment, "SHOP_CONFIG": str(wrong)}, "-m", "tests.integrations.django_shop", "check")

    assert 0 == code, errors
    found = json.loads(told)
    assert found["health"][0].startswith("openai ")
    assert "It is blue.\n" == found["gpt-4o-mini"][0]
    assert "openai:gpt-4o-mini" in found["gpt-4o-mini"][1]
    assert 50 in (simulator.requests[-1].json.get(name) for name in ("max_tokens", "max_completion_tokens"))
    assert (1, True) == (bad[0], "did you mean 'timeout'?" in bad[2])


ADMIN = r"""
import io, json, os, sys
os.environ["DJANGO_SETTINGS_MODULE"] = "shop.settings"
import django
django.setup()
from django.apps import apps
from django.contrib.auth.models import Permission, User
from django.core.management import CommandError, call_command
from django.test import Client, override_settings
from llmdispatcher.integrations.django import get_ledger

def said(*words):
    out = io.StringIO()
    call_command(*words, stdout=out, stderr=io.StringIO())
    return out.getvalue()

call_command("check", fail_level="WARNING")
call_command("makemigrations", check=True, dry_run=True, verbosity=0)
call_command("migrate", verbosity=0)
told = {"migrate_ledger": said("llmdispatcher", "migrate_ledger")}
ledger = get_ledger()
for user, calls in {"ada": 3, "bob": 1}.items():
    for _ in range(calls):
        ledger.record("openai", "gpt-4o-mini", origin="shop", user=user, input_tokens=1000, output_tokens=100)
ledger.record("openai", "gpt-4o", origin="other", user="<b>mallory", input_tokens=7, output_tokens=7)

names = ("customer", "clerk", "analyst", "tenant", "empty")
people = {name: User.objects.create_user(name, is_staff=name != "customer") for name in names}
people["root"] = User.objects.create_superuser("root")
for name in ("analyst", "tenant", "empty", "customer"):
    people[name].user_permissions.add(Permission.objects.get(codename="view_ledgerusage"))

def get(name, path="ledgerusage/"):
    client = Client(headers={"host": "127.0.0.1"})
    if name is not None:
        client.force_login(people[name])
    answer = client.get("/admin/llmdispatcher/" + path)
    return [answer.status_code, answer.content.decode()]

told["pages"] = {str(name): get(name) for name in (None, "customer", "clerk", "analyst", "root")}
told["others"] = [get("analyst", "ledgerusage/?origin=other&days=7"), get("analyst", "ledgerusage/?origin=&days=x")]
told["paths"] = [get("root", path)[0] for path in ("ledgerusage/add/", "ledgerusage/1/change/", "ledgerusage/1/delete/")]
mine = lambda request: {"tenant": ["other"], "empty": []}.get(request.user.username, ["shop", "other"])
with override_settings(LLMDISPATCHER_ORIGINS=mine):
    told["tenants"] = [get("tenant", "ledgerusage/?origin=shop"), get("empty"), get("root", "ledgerusage/?origin=other")]
with override_settings(LLMDISPATCHER_ORIGINS="no.such.function"):
    told["wrong"] = get("root")
told["usage"] = said("llmdispatcher", "usage", "--by", "user", "--origin", "shop")
told["app"] = apps.get_app_config("llmdispatcher").verbose_name
both = io.StringIO()
call_command("llmdispatcher", "usage", "--by", "user", stdout=both, stderr=both)
told["heads"] = both.getvalue()
told["days"] = said("llmdispatcher", "usage", "--by", "day", "--days", "2")
told["prune"] = said("llmdispatcher", "prune", "--older-than", "30")
try:
    said("llmdispatcher", "prune", "--older-than", "0")
except CommandError as error:
    told["refused"] = str(error)
call_command("dumpdata", use_base_manager=True, stdout=io.StringIO())
print(json.dumps(told))
"""


def test_usage_in_the_admin_and_at_the_command_line(tmp_path):
    """Sums by day, model and user, for who has the permission, of the origins that are theirs; nothing can be changed."""
    project = Path(__file__).parents[2] / "examples" / "django_project"
    config = tmp_path / "llm.toml"
    config.write_text((project / "llm.toml").read_text().replace("calls.db", f"{tmp_path}/calls.db"))
    environment = {
        **os.environ,
        "LLM_CONFIG": str(config),
        "SHOP_DB": str(tmp_path / "shop.db"),
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    done = subprocess.run([sys.executable, "-c", ADMIN], cwd=project, env=environment, capture_output=True, text=True, timeout=200)
    assert 0 == done.returncode, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    pages = told["pages"]

    assert [302, 302, 403, 200, 200] == [pages[name][0] for name in ("None", "customer", "clerk", "analyst", "root")]
    page = pages["analyst"][1]
    for part in (
        "4 calls, 0 failed, 4000 input and 400 output tokens, $0.00084",
        "<th>ada</th><td>3</td>",
        "<th>gpt-4o-mini</th><td>4</td>",
    ):
        assert part in page
    assert [200, 200] == [status for status, _ in told["others"]]
    assert not any("mallory" in text or "4o<" in text for _, text in [*pages.values(), *told["others"]])
    assert [404, 404, 404] == told["paths"]
    tenant, empty, root = [text for _, text in told["tenants"]]
    assert ("&lt;b&gt;mallory" in tenant, "ada" in tenant, "<b>mallory" in tenant) == (True, False, False)
    assert ("no origin whose usage you may see" in empty, "ada" in empty) == (True, False)
    assert "mallory" in root
    assert "LLMDISPATCHER_ORIGINS: " in told["wrong"][1]
    assert [["ada", "3"], ["bob", "1"], ["total", "4"]] == [line.split()[:2] for line in told["usage"].splitlines()]
    assert ["user", "calls", "input", "output", "US$"] == told["heads"].splitlines()[0].split()
    assert "llmdispatcher" == told["app"]
    assert "5" == told["days"].splitlines()[-1].split()[1]
    assert ("0 calls deleted\n", True) == (told["prune"], "is not a number of days" in told["refused"])
    assert "tables are at" in told["migrate_ledger"]
