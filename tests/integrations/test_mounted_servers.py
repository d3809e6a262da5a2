"""The example projects that mount the gateway, in the servers that people run: who is signed in asks, a page elsewhere does not."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from llmdispatcher.testing import VendorSimulator, faults

from ..orphans import mortal
from .test_example_servers import EXAMPLES, granian, gunicorn, served, uwsgi

requests = pytest.importorskip("requests")
pytest.importorskip("waitress", reason="waitress is not installed; scripts/test installs it")
pytest.importorskip("sqlalchemy", reason="SQLAlchemy is not installed; scripts/test installs it")

PATIENCE = 60.0
HELLO = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Why?"}], "max_tokens": 300}


def waitress(port, target):
    return [sys.executable, "-m", "waitress", "--host", "127.0.0.1", "--port", str(port), "--threads", "8", target]


class OneRequest(requests.adapters.HTTPAdapter):
    """A connection for each request: uWSGI closes without saying so."""

    def send(self, *given, **more):
        self.poolmanager.clear()
        return super().send(*given, **more)


SITES = {
    "Flask, gunicorn gthread --preload": ("flask_gateway", lambda port: gunicorn(port, "app:app", "--preload")),
    "Flask, uWSGI": ("flask_gateway", lambda port: uwsgi(port, "app:app")),
    "Flask, granian": ("flask_gateway", lambda port: granian(port, "app:app")),
    "Flask, waitress": ("flask_gateway", lambda port: waitress(port, "app:app")),
    "Django, gunicorn gthread": ("django_project", lambda port: gunicorn(port, "shop.wsgi", "--workers", "1")),
    "Django, granian": ("django_project", lambda port: granian(port, "shop.wsgi:application")),
    "Django, waitress": ("django_project", lambda port: waitress(port, "shop.wsgi:application")),
}


def sign_in(project, url, folder):
    """A session of somebody who is signed in."""
    session = requests.Session()
    session.mount("http://", OneRequest())
    if project == "flask_gateway":
        assert session.post(f"{url}/sign-in", data={"name": "ada"}, timeout=PATIENCE).ok
        return session
    form = session.get(f"{url}/admin/login/", timeout=PATIENCE).text
    token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', form)[1]
    data = {"username": "ada", "password": "a long secret", "csrfmiddlewaretoken": token, "next": "/ask?q=x"}
    session.post(f"{url}/admin/login/", data=data, timeout=PATIENCE, allow_redirects=False)
    assert session.cookies.get("sessionid")
    return session


MAKE_USER = """
import django, os
os.environ["DJANGO_SETTINGS_MODULE"] = "shop.settings"
django.setup()
from django.core.management import call_command
from django.contrib.auth import get_user_model
call_command("migrate", verbosity=0)
get_user_model().objects.create_superuser("ada", "ada@example.com", "a long secret")
"""


@pytest.mark.parametrize(("project", "command"), SITES.values(), ids=SITES)
def test_a_mounted_gateway_in_a_server(project, command, tmp_path):
    """Whole, streamed, refused, and with the application's own pages beside it."""
    if project == "django_project":
        environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(EXAMPLES / project), "SHOP_DB": str(tmp_path / "shop.db")}
        environment["PYTHONPATH"] += f":{EXAMPLES.parent}"
        subprocess.run(mortal([sys.executable, "-c", MAKE_USER]), env=environment, check=True, cwd=Path(tmp_path))
    with VendorSimulator(responses="It is blue.") as vendor, served(project, command, vendor, tmp_path) as site:
        url = f"http://127.0.0.1:{site.port}"
        chat = f"{url}/llm/v1/chat/completions"
        assert 401 == requests.post(chat, json=HELLO, timeout=PATIENCE).status_code, site.log.read_text()
        session = sign_in(project, url, tmp_path)
        answer = session.post(chat, json=HELLO, timeout=PATIENCE)
        assert 200 == answer.status_code, answer.text + site.log.read_text()
        assert (200, "It is blue.") == (answer.status_code, answer.json()["choices"][0]["message"]["content"]), answer.text
        streamed = session.post(chat, json={**HELLO, "stream": True}, timeout=PATIENCE).text
        events = [json.loads(line[6:]) for line in streamed.splitlines() if line.startswith("data: {")]
        assert "It is blue." == "".join([one["choices"][0]["delta"].get("content") or "" for one in events if one["choices"]])
        foreign = session.post(chat, json=HELLO, headers={"Origin": "https://evil.example"}, timeout=PATIENCE)
        form = session.post(chat, data=json.dumps(HELLO), headers={"Content-Type": "text/plain"}, timeout=PATIENCE)
        assert (403, 415, 2) == (foreign.status_code, form.status_code, vendor.hits)

        # the first word is there although the vendor never says the second
        vendor.script(faults.stall_after(2))
        with session.post(chat, json={**HELLO, "stream": True}, timeout=PATIENCE, stream=True) as answer:
            assert next(line for line in answer.iter_lines() if b'"content":"' in line and b'"content":""' not in line)

        # the application's own paths, and those below the prefix that are none
        own = session.get(f"{url}/" if project == "flask_gateway" else f"{url}/ask?q=Why", timeout=PATIENCE)
        assert 200 == own.status_code
        paths = ("/llm/livez", "/llm/v1/models", "/llmx/livez", "/llm/nothing")
        assert [200, 200, 404, 404] == [session.get(url + path, timeout=PATIENCE).status_code for path in paths]
    assert "Traceback" not in site.log.read_text()
