"""The LLM proxy service over HTTP: its fields, its figures, its health, and the cases that its users rely on."""

from __future__ import annotations

import contextlib
import json
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

from llmdispatcher import ConfigError, Request
from llmdispatcher.server import GatewaySettings, KeyStore, ServeOptions
from llmdispatcher.server.gateway.app import make_gateway
from llmdispatcher.server.serve import make_dispatcher
from llmdispatcher.testing import OK, VendorSimulator, faults

from ..cases import each
from ..conftest import PATIENCE
from .conftest import Served, serving, wait_until

MODEL = "gpt-4o-mini"
TOOL = {"type": "function", "function": {"name": "look_up", "parameters": {"type": "object", "properties": {}}}}


def _asked(text="Why?", **more):
    return {"model": MODEL, "temperature": 0, "messages": [{"role": "user", "content": text}], **more}


@pytest.fixture
def pair():
    """Two vendors that have the same model."""
    with VendorSimulator() as a, VendorSimulator() as b:
        yield a, b


@pytest.fixture
def serve_pair(tmp_path, pair, monkeypatch):
    """Serves them as ``serve`` does, by a file and options; two vendors, or one where ``alone`` is said."""
    for name in ("CACHE_SIZE", "CACHE_TTL", "MAX_RETRIES", "LOAD_BALANCE"):
        monkeypatch.delenv(f"LLM_PROXY_{name}", raising=False)

    @contextlib.contextmanager
    def serve(*, alone=False, top="", of_a="", **options):
        tables = [f'{top}\n[vendors.a]\nkind = "openai"\napi_key = "sk"\nbase_url = "{pair[0].openai_url}"\n{of_a}\n']
        if not alone:
            tables.append(f'[vendors.b]\nkind = "openai"\napi_key = "sk"\nbase_url = "{pair[1].openai_url}"\n')
        (tmp_path / "c.toml").write_text("".join(tables))
        keys = KeyStore(tmp_path / "server.db")
        _, secret = keys.create("a test")
        dispatcher = make_dispatcher(ServeOptions(config=str(tmp_path / "c.toml"), **options))
        app = make_gateway(dispatcher, keys, GatewaySettings(threads=16))
        with serving(app) as url:
            try:
                yield Served(app, url, secret, pair[0])
            finally:
                app.close()

    return serve


def _ask(served, body=None, **more):
    answer = served.post("/v1/chat/completions", body or _asked(), **more)
    assert 200 == answer.status_code, answer.text
    return answer


def _operator(served, organization="default"):
    served.app.keys.owners.ensure("organization", organization)
    return served.app.keys.create("an operator", scopes=("operator",), organization=organization)[1]


def _stats(served, key=None):
    return served.get("/proxy/stats", key=key or _operator(served)).json()


def test_the_same_request_is_asked_once(serve_pair, pair):
    """Also where two vendors take turns; the second answer says that it is from the cache, and costs nothing."""
    with serve_pair(cache_size=10) as served:
        first, second, streamed = _ask(served), _ask(served), _ask(served, _asked(stream=True))
        assert first.json()["choices"] == second.json()["choices"]
        assert ("true", "0") == (second.headers["x-llmdispatcher-cached"], second.headers["x-llmdispatcher-cost"])
        assert streamed.text.endswith("data: [DONE]\n\n")
        assert 1 == pair[0].hits + pair[1].hits
        told = _stats(served)
    assert (3, 2, 2 / 3) == (told["total_requests"], told["cache_hits"], told["cache_hit_ratio"])


def test_the_oldest_answer_makes_room(serve_pair, pair):
    """With room for two."""
    with serve_pair(alone=True, cache_size=2) as served:
        for text in ("one", "two", "three", "three", "one"):
            _ask(served, _asked(text))
    assert 4 == pair[0].hits


def test_an_answer_expires(serve_pair, pair):
    """And is asked for anew."""
    with serve_pair(alone=True, cache_size=10, cache_ttl=0.2) as served:

        def has_expired():
            _ask(served)
            return pair[0].hits > 1

        wait_until(has_expired)


@each(
    "more",
    [
        {"cache_enabled": False},
        {"tools": [TOOL]},
        {"functions": [TOOL["function"]]},
        {"temperature": 0.7},
        {"temperature": None},
    ],
)
def test_what_is_never_answered_from_the_cache(serve_pair, pair, more):
    """A request that says so, one with tools, and one without a stated, low temperature."""
    before = pair[0].hits
    with serve_pair(alone=True, cache_size=10) as served:
        body = {name: value for name, value in _asked(**more).items() if value is not None}
        _ask(served, body)
        _ask(served, body)
    assert 2 == pair[0].hits - before


def test_without_an_option_nothing_is_kept(serve_pair, pair):
    """Not even what could be."""
    with serve_pair(alone=True) as served:
        _ask(served)
        _ask(served)
        assert 0 == _stats(served)["cache_hits"]
    assert 2 == pair[0].hits


def test_organizations_share_no_answer_and_no_call(serve_pair, pair):
    """The same body at once is two calls for two organizations, and one for one; later each has its own in the cache."""
    here = threading.Event()

    def answer(_body):
        here.wait(PATIENCE)
        return "an answer"

    pair[0].responses = answer
    with serve_pair(alone=True, cache_size=10) as served, ThreadPoolExecutor(4) as pool:
        served.app.keys.owners.ensure("organization", "another")
        _, other = served.app.keys.create("theirs", organization="another")
        asking = [pool.submit(_ask, served, key=key) for key in (served.key, served.key, other, other)]
        wait_until(lambda: pair[0].hits == 2)
        wait_until(lambda: served.app.dispatcher.get_stats().running_requests == 4)
        here.set()
        assert {200} == {one.result(PATIENCE).status_code for one in asking}
        _ask(served)
        _ask(served, key=other)
    assert 2 == pair[0].hits


def test_round_robin_is_the_default(serve_pair, pair):
    """a, b, a, b."""
    with serve_pair() as served:
        found = [_ask(served, _asked(f"{number}")).headers["x-llmdispatcher-vendor"] for number in range(4)]
    assert [found[0], found[1]] * 2 == found
    assert {"a", "b"} == set(found)


def test_least_loaded_follows_the_calls_under_way(serve_pair, pair):
    """While one vendor holds a call, the others go elsewhere."""
    held = threading.Event()

    def answer(body):
        if "hold" in json.dumps(body):
            held.wait(PATIENCE)
        return "an answer"

    pair[0].responses = pair[1].responses = answer
    with serve_pair(load_balance="LEAST_LOADED") as served, ThreadPoolExecutor(1) as pool:
        holding = pool.submit(_ask, served, _asked("hold"))
        wait_until(lambda: pair[0].hits + pair[1].hits == 1)
        holder = "a" if pair[0].hits else "b"
        active = served.get(f"/proxy/providers/{holder}/metrics", key=_operator(served)).json()["active_requests"]
        others = [_ask(served, _asked(f"{number}")).headers["x-llmdispatcher-vendor"] for number in range(3)]
        held.set()
        holding.result(PATIENCE)
    assert 1 == active
    assert {"b" if holder == "a" else "a"} == set(others)


def test_a_limit_leads_to_the_other_provider(serve_pair):
    """Of two a minute the third goes elsewhere, and the status tells why."""
    with serve_pair(top='default_vendor = "a"', of_a="rate_limit = {requests_per_minute = 2}") as served:
        found = [_ask(served, _asked(f"{number}")).headers["x-llmdispatcher-vendor"] for number in range(3)]
        told = served.get("/proxy/providers/a/rate-limit", key=_operator(served)).json()
        state = served.get("/proxy/providers/a").json()
        free = served.get("/proxy/providers/b/rate-limit", key=_operator(served)).json()
        refused = served.get("/proxy/providers/a/rate-limit")
    assert ["a", "a", "b"] == found
    assert {"remaining": 0, "limit": 2, "tokens_remaining": None, "tokens_limit": None} == {
        name: value for name, value in told.items() if name != "reset_seconds"
    }
    assert 0 < told["reset_seconds"] <= 60
    assert {"name": "a", "available": True, "status": "rate_limited"} == state
    assert (None, 403) == (free["limit"], refused.status_code)


def test_health_follows_the_providers(serve_pair, pair):
    """One down: its requests are answered elsewhere, and the service is degraded; all down: 503; up again: healthy."""
    with serve_pair(top='default_vendor = "a"\ncircuit_breaker = {enabled = false}', max_retries=0) as served:
        before = served.get("/proxy/health")
        pair[0].always(faults.status(503))
        answer = _ask(served)
        degraded, failing = served.get("/proxy/health"), served.get("/proxy/providers/a").json()
        metrics = served.get("/proxy/providers/a/metrics", key=_operator(served)).json()
        pair[1].always(faults.status(503))
        assert 503 == served.post("/v1/chat/completions", _asked()).status_code
        unhealthy = served.get("/proxy/health")
        pair[0].always(OK)
        _ask(served)
        served.app.draining = True
        stopped = served.get("/proxy/health")
        served.app.draining = False

    assert (200, "healthy", {"a": "available", "b": "available"}) == (before.status_code, *before.json().values())
    assert "b" == answer.headers["x-llmdispatcher-vendor"]
    assert (200, "degraded", {"a": "error", "b": "healthy"}) == (degraded.status_code, *degraded.json().values())
    assert {"name": "a", "available": False, "status": "error"} == failing
    assert (1, 1.0, True) == (metrics["request_count"], metrics["error_rate"], metrics["last_error_at"] is not None)
    assert (503, "unhealthy") == (unhealthy.status_code, unhealthy.json()["status"])
    assert (503, "stopped") == (stopped.status_code, stopped.json()["status"])


def test_answers_have_the_service_s_fields_where_a_body_asks_for_them(serve_pair):
    """Beside OpenAI's own; a body of OpenAI's is answered with OpenAI's alone."""
    with serve_pair(alone=True) as served:
        served.simulator.script("the sky scatters blue light")
        plain = _ask(served, {"model": MODEL, "prompt": "Why is the sky blue?"}).json()
        called = _ask(served, _asked(functions=[TOOL["function"]], function_call={"name": "look_up"})).json()
        usual = _ask(served, _asked(tools=[TOOL])).json()
        both = served.post("/v1/chat/completions", _asked(prompt="x"))
        wrong = served.post("/v1/chat/completions", _asked(cache_enabled="no"))
        stream = _ask(served, {"model": MODEL, "prompt": "Why?", "stream": True})

    assert "the sky scatters blue light" == plain["content"] == plain["choices"][0]["message"]["content"]
    assert ("a", False, None) == (plain["provider"], plain["cached"], plain["function_call"])
    assert plain["usage"]["cost"] > 0
    assert "look_up" == called["function_call"]["name"]
    assert isinstance(json.loads(called["function_call"]["arguments"]), dict)
    assert not {"content", "provider", "cached", "function_call"} & set(usual)
    assert [(400, "prompt"), (400, "cache_enabled")] == [(one.status_code, one.json()["error"]["param"]) for one in (both, wrong)]
    assert stream.text.endswith("data: [DONE]\n\n")


def test_who_is_no_operator_sees_his_own_figures(serve_pair):
    """And nothing of what other keys, of the same organization too, have done."""
    with serve_pair() as served:
        served.app.keys.owners.ensure("organization", "another")
        _, other = served.app.keys.create("theirs", organization="another")
        for _ in range(3):
            _ask(served, key=other)
        _ask(served)
        assert 400 == served.post("/v1/chat/completions", _asked(messages="none")).status_code
        mine, theirs, all_of_them = _stats(served, served.key), _stats(served, other), _stats(served)
        metrics = [
            sum(served.get(f"/proxy/providers/{name}/metrics", key=key).json()["request_count"] for name in "ab")
            for key in (served.key, other)
        ]
        listed = served.get("/proxy/providers").json()
        missing = [served.get(f"/proxy/providers/none{rest}").status_code for rest in ("", "/metrics")]

    assert [(2, 1, 1), (3, 3, 0)] == [
        (told["total_requests"], told["successful_requests"], told["failed_requests"]) for told in (mine, theirs)
    ]
    assert 0 < mine["total_cost"] < theirs["total_cost"] < all_of_them["total_cost"]
    assert (4, 0) == (all_of_them["total_requests"], mine["active_requests"])
    assert [1, 3] == metrics
    assert (["a", "b"], [404, 404]) == (listed, missing)
    assert {"records"} == set(all_of_them) ^ set(mine)
    assert 5 == all_of_them["records"]["written"]


def test_the_cache_is_emptied_by_an_operator(serve_pair, pair):
    """And by nobody else; where there is none, nothing is to be done."""
    with serve_pair(alone=True, cache_size=10) as served:
        _ask(served)
        refused = _delete(served, served.key)
        cleared = _delete(served, _operator(served))
        _ask(served)
    assert (403, 200, {"cleared": True}) == (refused.status_code, cleared.status_code, cleared.json())
    assert 2 == pair[0].hits


def _delete(served, key):
    return requests.delete(f"{served.url}/proxy/cache", headers={"X-API-Key": key}, timeout=30)


def test_every_path_needs_a_key(serve_pair):
    """With the scope that it is for."""
    with serve_pair() as served:
        _, maker = served.app.keys.create("a maker", scopes=("keys",))
        paths = ("stats", "health", "providers", "providers/a", "providers/a/metrics", "usage", "requests/req_0")
        assert {401} == {served.get(f"/proxy/{path}", key="nobody").status_code for path in paths}
        assert {403} == {served.get(f"/proxy/{path}", key=maker).status_code for path in paths}


def test_the_line_beats_the_environment_and_that_the_file(tmp_path, monkeypatch):
    """For each of the four; what nobody says is the default."""
    path = tmp_path / "c.toml"
    path.write_text('balance = "random"\n[cache]\nmax_entries = 5\n[retry_policy]\nmax_retries = 1\n')
    options = ServeOptions(config=str(path), simulate=True)

    def made(**more):
        with make_dispatcher(ServeOptions(**{"config": str(path), "simulate": True, **more})) as dispatcher:
            return dispatcher.config

    of_file = made()
    for name, value in {"CACHE_SIZE": "7", "CACHE_TTL": "60", "MAX_RETRIES": "2", "LOAD_BALANCE": "Least_Loaded"}.items():
        monkeypatch.setenv(f"LLM_PROXY_{name}", value)
    of_environment = made()
    of_line = made(cache_size=9, cache_ttl=1.5, max_retries=0, load_balance="COST_OPTIMIZED")
    without = made(cache_size=0)
    monkeypatch.setenv("LLM_PROXY_LOAD_BALANCE", "sideways")
    with pytest.raises(ConfigError, match="LLM_PROXY_LOAD_BALANCE: 'sideways' is not a strategy"):
        make_dispatcher(options)

    def figures(config):
        return config.cache.max_entries, config.cache.ttl, config.retry_policy.max_retries, config.balance.strategy.__name__

    assert [(5, 3600.0, 1, "random"), (7, 60.0, 2, "least_loaded"), (9, 1.5, 0, "cheapest")] == [
        figures(config) for config in (of_file, of_environment, of_line)
    ]
    assert without.cache is None


@each("name, value", [("CACHE_SIZE", "many"), ("CACHE_SIZE", "-1"), ("CACHE_TTL", "nan"), ("MAX_RETRIES", "1.5")])
def test_variables_that_cannot_be(monkeypatch, name, value):
    """Are named with what they hold."""
    monkeypatch.setenv(f"LLM_PROXY_{name}", value)
    with pytest.raises(ConfigError, match=f"LLM_PROXY_{name}: '{value}' is no"):
        make_dispatcher(ServeOptions(simulate=True))


def test_a_table_of_the_service_s_providers(tmp_path, pair):
    """``provider``, ``model_name``, a number as the limit: as programs of the service write them down."""
    path = tmp_path / "c.toml"
    path.write_text(
        f"""
        [vendors.primary]
        provider = "openai"
        model_name = "gpt-4"
        api_key = "sk"
        api_endpoint = "{pair[0].openai_url}"
        capabilities = ["chat_completion"]
        max_tokens = 4000
        cost_per_1k_tokens = 0.03
        rate_limit = 60
        weight = 2.0
        priority = 1
        """
    )
    with make_dispatcher(ServeOptions(config=str(path), load_balance="WEIGHTED")) as dispatcher:
        assert ["primary"] == dispatcher.get_vendors()
        assert 60 == dispatcher.get_rate_limit_status("primary").requests_limit
        assert {"primary": 2.0} == dispatcher.config.balance.weights
        assert "weighted" == dispatcher.config.balance.strategy.__name__
        assert dispatcher.send(Request("gpt-4", "Why?")).content
