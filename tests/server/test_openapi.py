"""``/openapi.json``: it describes every path, and every answer is as it says."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import requests
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llmdispatcher.server import GatewaySettings, create_app
from llmdispatcher.server.gateway.app import ROUTES
from llmdispatcher.server.gateway.passthrough import read_rows
from llmdispatcher.server.gateway.routes import describe

from .test_fuzz import JSON, broken

ROOT = Path(__file__).resolve().parents[2]
SUITE = next((str(one) for one in (ROOT / ".venv-strangers" / "bin" / "schemathesis",) if one.exists()), None)
SUITE = SUITE or shutil.which("schemathesis")
MODELS = ["gpt-4o-mini", "claude-haiku-4-5", "openai:gpt-4o-mini", "nobody-knows-it"]
CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"
DESCRIBED = describe(ROUTES)
OWN = [
    ("GET", "/v1/models"),
    ("GET", "/v1/models/{model}"),
    ("GET", "/v1beta/models/{model}"),
    ("GET", "/api/tags"),
    ("POST", "/api/v1/keys"),
    ("GET", "/api/v1/keys/{id}"),
    ("PATCH", "/api/v1/keys/{id}"),
    ("GET", "/proxy/stats"),
    ("GET", "/proxy/providers"),
    ("GET", "/proxy/providers/{name}/rate-limit"),
    ("GET", "/proxy/usage"),
    ("DELETE", "/proxy/cache"),
    ("GET", "/livez"),
    ("GET", "/readyz"),
    ("GET", "/"),
]


@pytest.fixture
def settings_of_gateway():
    """With a path that passes."""
    return GatewaySettings(threads=8, passthrough=read_rows([{"path": "/v1/moderations", "vendor": "openai"}]))


@pytest.fixture
def described(served):
    """The description that the gateway serves, to anybody."""
    return requests.get(f"{served.url}/openapi.json", timeout=30).json()


@pytest.fixture
def operator(served):
    """A key that may do everything."""
    return served.app.keys.create("all", scopes=["gateway", "keys", "operator"])[1]


def _schemas(value):
    """Every reference within a document."""
    if isinstance(value, dict):
        yield from [value["$ref"]] if "$ref" in value else []
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _schemas(inner)


def test_every_route_is_described(described):
    """With what it does, the scope that it needs, its parameters and its answers."""
    operations = {(path, method): one for path, several in described["paths"].items() for method, one in several.items()}
    assert len(operations) >= len(ROUTES)
    for route in ROUTES:
        here = [
            one
            for (path, method), one in operations.items()
            if method == route.method.lower() and route.pattern.fullmatch(re.sub(r"\{(\w+)\}", "req_0", path))
        ]
        assert here, route.pattern.pattern
        assert all(bool(one["security"]) == (route.scope is not None) for one in here)
    for (path, _), one in operations.items():
        assert set(re.findall(r"\{(\w+)\}", path)) == {p["name"] for p in one.get("parameters", ()) if p["in"] == "path"}
        assert one["summary"].endswith(".") or "/" in one["summary"]
    names = {f"#/components/schemas/{name}" for name in described["components"]["schemas"]}
    assert set(_schemas(described)) == names


def test_a_path_that_passes_is_described(dispatcher, keys, settings_of_gateway):
    """As bytes of any kind."""
    app = create_app(dispatcher, keys=keys, settings=settings_of_gateway)
    given = b"".join(app({"REQUEST_METHOD": "GET", "PATH_INFO": "/openapi.json", "HTTP_HOST": "localhost"}, lambda *_: None))

    assert {"*/*"} == json.loads(given)["paths"]["/v1/moderations"]["post"]["responses"]["200"]["content"].keys()


def is_described(path, method, answer):
    """Whether the status and the type of an answer are among those of its path."""
    responses = DESCRIBED["paths"][path][method.lower()]["responses"]
    told = responses.get(f"{answer.status_code}")
    kind = answer.headers["content-type"].partition(";")[0]
    return answer.status_code < 500 and told is not None and kind in told["content"]


@settings(max_examples=100, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(asked=broken())
def test_answers_to_bodies_of_vendors_formats_are_as_described(served, asked):
    """Good or refused, whole or streamed."""
    path, body = asked
    answer = requests.post(served.url + path, data=json.dumps(body), headers={"x-api-key": served.key}, timeout=60)
    path = re.sub("^/v1/models/", "/v1beta/models/", path.partition("?")[0])

    assert is_described(re.sub("(?<=/models/)[^:]+", "{model}", path), "POST", answer), (asked, answer.text)


@settings(max_examples=100, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(asked=st.sampled_from(OWN), name=st.text(max_size=20), query=st.text(max_size=20), body=JSON)
def test_answers_of_our_own_paths_are_as_described(served, operator, asked, name, query, body):
    """Whatever stands in the path, the query and the body."""
    method, path = asked
    filled = re.sub(r"\{\w+\}", lambda _: requests.utils.quote(name, safe="") or "a", path)
    answer = requests.request(
        method, f"{served.url}{filled}", params={"by": query}, data=json.dumps(body), headers={"x-api-key": operator}, timeout=60
    )
    if answer.status_code == 404 and not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", name):
        return  # of no path at all

    assert is_described(path, method, answer), (asked, name, body, answer.text)


@pytest.mark.skipif(SUITE is None, reason="schemathesis is not installed; scripts/strangers installs it")
def test_schemathesis_passes(served, operator, described, tmp_path):
    """No failure of the gateway, no status, type or shape that is not described; names of models, so that bodies go further."""
    text = json.dumps(described).replace('"model": {"type": "string"}', f'"model": {json.dumps({"enum": MODELS})}')
    (tmp_path / "openapi.json").write_text(text)
    command = [SUITE, "run", str(tmp_path / "openapi.json"), "--url", served.url, "--header", f"Authorization: Bearer {operator}"]
    command += ["--checks", CHECKS, "--max-examples", "10", "--seed", "1", "--phases", "coverage,fuzzing"]
    command += ["--suppress-health-check", "all"]  # one says that a machine is slow
    command += ["--workers", "1"]  # CPython 3.11 counts the depth of ast.parse() for all threads together, and fails (gh-106905)
    done = subprocess.run(command, capture_output=True, text=True, timeout=500, cwd=tmp_path)

    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
