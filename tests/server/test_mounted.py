"""The gateway inside another application: under a prefix, and with that application's users in the place of keys."""

from __future__ import annotations

import pytest
import requests

from llmdispatcher import ConfigError
from llmdispatcher.server import GatewaySettings, GatewayUser, create_app, mount

from ..cases import each
from .conftest import HELLO, serving
from .test_gateway import ASKING


def shop(environ, start_response):
    """An application of one page."""
    body = f"shop {environ['SCRIPT_NAME']}{environ['PATH_INFO']}".encode()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", f"{len(body)}")])
    return [body]


USERS = {
    "ada": GatewayUser(organization="red", id="7"),
    "bob": GatewayUser(organization="blue", id="7", models=["gpt-4o-*"], requests_per_minute=2),
    "eve": GatewayUser(organization="red", id="eve", budget="0.000001"),
}


def user_of(environ):
    """Who a cookie says one is."""
    return USERS.get(environ.get("HTTP_COOKIE", "").removeprefix("name="))


@pytest.fixture
def gateway(dispatcher, keys):
    """One with users."""
    return create_app(dispatcher, keys=keys, users=user_of, settings=GatewaySettings(threads=8, origins=("https://app.example",)))


@pytest.fixture
def url(gateway):
    """The address of the shop that has it under /llm."""
    with serving(mount(shop, "/llm", gateway)) as address:
        yield address


def ask(url, name="ada", path="/v1/chat/completions", body=HELLO, **headers):
    """One request of a user."""
    cookie = {"Cookie": f"name={name}"} if name else {}
    return requests.post(f"{url}/llm{path}", json=body, headers={**cookie, **headers}, timeout=30)


def test_each_has_its_own_paths(url):
    """What only looks like the prefix is the application's."""
    paths = ("/", "/llmx", "/llm/livez", "/llm/nothing", "/LLM/livez")
    answers = [requests.get(url + path, timeout=30) for path in paths]

    assert ["shop /", "shop /llmx", "ok\n", "shop /LLM/livez"] == [one.text for one in answers if one.status_code == 200]
    assert 404 == answers[3].status_code
    assert 200 == requests.get(f"{url}/llm", timeout=30).status_code  # what agents ask before they begin


@each("path, body", ASKING)
def test_every_format_is_answered_below_a_prefix(url, path, body):
    """To a user who is signed in, and to nobody else; a key opens nothing."""
    assert 200 == ask(url, path=path, body=body).status_code
    refused = ask(url, name=None, path=path, body=body, **{"x-api-key": "k"})
    assert (401, True) == (refused.status_code, "sign in first" in refused.text)


def test_a_prefix_within_a_prefix(gateway):
    """SCRIPT_NAME has both."""
    seen = []

    def note(environ, start_response):
        seen.append((environ["SCRIPT_NAME"], environ["PATH_INFO"]))
        return gateway(environ, start_response)

    with serving(mount(shop, "/a", mount(shop, "/b", note))) as url:
        assert 200 == requests.get(f"{url}/a/b/livez", timeout=30).status_code
        assert "shop /a/c" == requests.get(f"{url}/a/c", timeout=30).text
    assert [("/a/b", "/livez")] == seen


@each("prefix", ["llm", "/llm/", "/", "", "//llm", None])
def test_what_is_no_prefix(prefix):
    """Is told."""
    with pytest.raises(ConfigError, match="prefix: "):
        mount(shop, prefix, shop)


def test_the_limits_of_a_user_hold(url, simulator):
    """Models, requests and the budget; of two organizations the same id is two users."""
    assert 403 == ask(url, "bob", body={**HELLO, "model": "claude-haiku-4-5"}).status_code
    assert [200, 429] == [ask(url, "bob").status_code for _ in range(2)]
    assert [200] * 3 == [ask(url, "ada").status_code for _ in range(3)]
    before = simulator.hits
    assert 402 == ask(url, "eve").status_code
    assert before == simulator.hits


def test_a_user_manages_no_keys(url):
    """The scope is another's."""
    answer = requests.get(f"{url}/llm/api/v1/keys", headers={"Cookie": "name=ada"}, timeout=30)

    assert (403, "scope_required") == (answer.status_code, answer.json()["error"]["code"])


SENDERS = {
    "no browser": ({}, 200),
    "the application's own page": ({"Origin": "{url}"}, 200),
    "a page of a named origin": ({"Origin": "https://app.example"}, 200),
    "the same with its port": ({"Origin": "https://app.example:443"}, 200),
    "another page": ({"Origin": "https://evil.example"}, 403),
    "another scheme": ({"Origin": "http://app.example"}, 403),
    "another port": ({"Origin": "http://127.0.0.1:1"}, 403),
    "a page without an origin": ({"Origin": "null"}, 403),
    "no origin at all": ({"Origin": "x y"}, 403),
    "a broken one": ({"Origin": "https://[x"}, 403),
    "an old browser elsewhere": ({"Sec-Fetch-Site": "cross-site"}, 403),
    "one of another host of the site": ({"Sec-Fetch-Site": "same-site"}, 403),
    "the user himself": ({"Sec-Fetch-Site": "none"}, 200),
    "a form": ({"Content-Type": "application/x-www-form-urlencoded"}, 415),
    "a text": ({"Content-Type": "text/plain; charset=application/json"}, 415),
    "no type": ({"Content-Type": ""}, 415),
    "JSON of a charset": ({"Content-Type": "Application/JSON; charset=utf-8"}, 200),
}


@each("headers, status", SENDERS)
def test_a_foreign_page_cannot_spend_for_a_user(url, simulator, headers, status):
    """What it sends with the user's cookies is refused, and never sent on."""
    given = {name: value.format(url=url) for name, value in headers.items()}
    before = simulator.hits
    answer = ask(url, **given)

    assert status == answer.status_code, answer.text
    assert (status == 200) == (simulator.hits == before + 1)


MISTAKES = {
    "no identity": {"name": "ada"},
    "an organization with a slash": GatewayUser(organization="a/b", id="c"),
    "no id": GatewayUser(organization="a", id=""),
    "a budget that is none": GatewayUser(organization="a", id="b", budget="much"),
    "a limit that is none": GatewayUser(organization="a", id="b", in_flight=0),
}


@each("identity", MISTAKES)
def test_an_identity_that_cannot_be_is_the_application_s_mistake(dispatcher, keys, simulator, identity, caplog):
    """The client is told nothing of it; the log tells the field."""
    app = create_app(dispatcher, keys=keys, users=lambda _environ: identity)
    with serving(mount(shop, "/llm", app)) as url:
        assert 500 == ask(url).status_code
    assert 0 == simulator.hits
    assert any(word in caplog.text for word in ("users: ", "organization: ", "id: ", "budget: ", "in_flight: "))


def test_without_keys_and_users_nobody_could_ask(dispatcher):
    """So there is no such gateway."""
    with pytest.raises(ConfigError, match="keys: nobody could ask"):
        create_app(dispatcher)
