"""Every example program of the source documents runs with its import lines changed, and without ``async`` and ``await``."""

from __future__ import annotations

import logging
import re
import zlib
from collections import UserDict
from decimal import Decimal
from pathlib import Path

import attrs
import pytest

import llmdispatcher as ours
from llmdispatcher import Lockfile, SigningKey, ToolCall
from llmdispatcher.integrations import llm_proxy, llmring
from llmdispatcher.testing import FakeVendor, SimulatedResponse, VendorSimulator, faults

from ..cases import each

DOCUMENTS = Path(__file__).with_name("documents")
_MOVED = (
    (r"^from (?:llmring|pgdbm)(?:\.\w+)* import", "from llmdispatcher.integrations.llmring import"),
    (r"^from (?:llm_proxy_service|gadugi\.services\.llm_proxy) import", "from llmdispatcher.integrations.llm_proxy import"),
    (r"\b(?:async|await) ", ""),
    (r"\basyncio\.run\(", "("),
)
HELLO = [llmring.Message(role="user", content="Hi")]
WEATHER = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}
_TYPED = re.compile(r"(\w+): \w+(?:\[(?:[^\[\]]|\[(?:[^\[\]]|\[[^\[\]]*\])*\])*\])?(?: = ([^,()\n#]+))?(?=\s*[,)#\n])")
"""A parameter as the documents write it in a call, ``name: type = default``: no Python, but a signature that must hold."""
PNG = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x00\x01\x00\x00\x00\x01\x08\x00\x00\x00\x00:~\x9bU"
PNG += b"\x00\x00\x00\nIDAT" + zlib.compress(b"\x00\x00") + b"\x00\x00\x00\x00\x00\x00\x00\x00IEND\xaeB`\x82"


class Programs(UserDict):
    """The names that the programs of one document have made so far, and what stands for what they leave open."""

    def __init__(self, document, module):
        super().__init__({name: getattr(module, name) for name in module.__all__})
        self.blocks = re.findall(r"^```python\n(.*?)^```", (DOCUMENTS / f"{document}.md").read_text(), re.MULTILINE | re.DOTALL)

    def run(self, number, **written):
        """Run one; ``written`` has values in the place of words of the program, by names that stand for them."""
        text = self.blocks[number]
        for pattern, moved in _MOVED:
            text = re.sub(pattern, moved, text, flags=re.MULTILINE)
        text = _TYPED.sub(lambda found: f"{found[1]}={found[2] or found[1]}", text)
        for name, word in written.items():
            assert word in text, word
            text = text.replace(word, name)
        exec(compile(text, f"program {number}", "exec"), self.data)


@pytest.fixture
def simulator(tmp_path, monkeypatch):
    """Vendors on the loopback, their keys in the environment; an own folder and home."""
    monkeypatch.chdir(tmp_path)
    SigningKey.generate(tmp_path / "receipts.key")
    with VendorSimulator(responses="Paris.") as running:
        variables = {"OPENAI_BASE_URL": running.openai_url, "ANTHROPIC_BASE_URL": running.anthropic_url}
        variables |= {"LLMDISPATCHER_HOME": str(tmp_path), "LLMDISPATCHER_RECEIPTS_KEY": str(tmp_path / "receipts.key")}
        for name, value in {**variables, "OPENAI_API_KEY": "sk-1", "ANTHROPIC_API_KEY": "sk-2"}.items():
            monkeypatch.setenv(name, value)
        yield running


def test_document_000(simulator, tmp_path):
    """The service, requests and responses, and errors."""
    simulator.responses = '{"city": "Paris"}'
    lock = Lockfile.create_default(tmp_path / "own.lock")
    lock.bind("fast", ["openai:gpt-4o-mini", "anthropic:claude-haiku-4-5"])
    lock.save()
    found = Programs("000", llmring)
    found.data |= {"lock": str(tmp_path / "own.lock"), "hello": HELLO, "weather": [WEATHER]}

    found.run(1, hello="[Message(...)]", weather="[...]")
    found.run(0, lock='"/path/to/custom.lock"')
    service = found["service"] = llmring.LLMRing(lockfile_path=found["lock"])
    found.run(2)
    body = simulator.requests[-1].json

    answer = found["response"]
    assert ('{"city": "Paris"}', "gpt-4o-mini", "stop", None) == (
        answer.content,
        answer.model,
        answer.finish_reason,
        answer.tool_calls,
    )
    assert answer.usage["total_tokens"] == answer.usage.prompt_tokens + answer.usage.completion_tokens > 0
    assert (0.7, "auto", "weather") == (body["temperature"], body["tool_choice"], body["tools"][0]["function"]["name"])
    assert ({"type": "json_object"}, 1000) == (body["response_format"], body.get("max_tokens") or body.get("max_completion_tokens"))
    assert ("openai:gpt-4o-mini", "anthropic") == (service.resolve_alias("fast"), service.get_provider("anthropic").name)
    cost = service.calculate_cost(answer)
    assert cost["total_cost"] == pytest.approx(cost["input_cost"] + cost["output_cost"]) == answer.usage.cost > 0
    service.close()


@each(
    "fault, name, own",
    [
        (faults.status(401), "ProviderAuthenticationError", ours.AuthenticationError),
        (faults.status(429), "ProviderRateLimitError", ours.RateLimitError),
        (faults.status(404), "ModelNotFoundError", ours.ModelNotFound),
        (faults.status(400), "ProviderResponseError", ours.InvalidRequest),
        (faults.status(500), "ProviderResponseError", ours.VendorUnavailable),
        (faults.html(), "ProviderResponseError", ours.MalformedReply),
    ],
)
def test_errors_of_document_000(simulator, fault, name, own):
    """Whole and streamed, by one vendor and by several, each is of its class there, of no other, and of the library's."""
    simulator.always(fault)
    found = Programs("000", llmring)
    found.run(3)
    names = re.findall(r"\b(\w+Error)\b", found.blocks[3])
    for vendors in (("openai",), ("openai", "other")):
        with ours.Dispatcher({"retry_policy": {"max_retries": 0}}) as dispatcher:
            for vendor in vendors:
                dispatcher.register_vendor(ours.OpenAIVendor(name=vendor, models=["m"]))
            for stream in (False, True):
                with pytest.raises(found[name]) as caught:
                    [*llmring.LLMRing(dispatcher=dispatcher).chat(llmring.LLMRequest(model="m", messages=HELLO, stream=stream))]

                assert [name] == [word for word in names if isinstance(caught.value, found[word])]
                assert isinstance(caught.value, own | ours.AllTargetsFailed)


def test_document_001(simulator, tmp_path, postgres):
    """Databases, requests, files, models and the cache; signatures are as they are written."""
    (tmp_path / "photo.png").write_bytes(PNG)
    found = Programs("001", llmring)
    found.data |= {
        "url": postgres.database(),
        "shared": postgres.database(),
        "facts": None,
        "messages": HELLO,
        "model": "gpt-4o-mini",
        "role": "user",
        "content": "Paris.",
        "usage": {"prompt_tokens": 1000, "completion_tokens": 500},
        "finish_reason": "stop",
        "provider": "openai",
        "model_name": "gpt-4o-mini",
        "origin": "myapp",
        "id_at_origin": "user-1",
        "file_path": "photo.png",
        "prompt": "What is it?",
        "Optional": None,
        "List": None,
        "Dict": None,
        "display_name": "GPT",
        "max_context": 128_000,
        "max_output_tokens": 16_384,
        "supports_vision": True,
        "supports_function_calling": True,
        "supports_json_mode": True,
        "supports_parallel_tool_calls": True,
        "dollars_per_million_tokens_input": Decimal("0.15"),
        "dollars_per_million_tokens_output": Decimal("0.6"),
    }

    found.run(0)
    found.run(1)
    service = found["service"]
    found.run(4)
    assert "Paris." == service.chat(found["request"]).content == found["response"].content
    assert {"input_cost": 0.00015, "output_cost": 0.0003} == {
        name: cost for name, cost in service.calculate_cost(found["response"]).items() if name in ("input_cost", "output_cost")
    }
    found.run(5)
    described = llmring.LLMRequest(model="gpt-4o-mini", messages=[llmring.Message(role="user", content=found["content"])])
    service.chat(described)
    assert "What is it?" == simulator.requests[-1].json["messages"][0]["content"][0]["text"]
    found.run(6)
    assert ("openai", Decimal("0.15"), 128_000) == (
        found["model"].provider,
        found["model"].dollars_per_million_tokens_input,
        found["model"].max_context,
    )


def test_the_databases_of_document_001(simulator, tmp_path, postgres):
    """PostgreSQL by its address, PostgreSQL by a shared manager that stays open, and a file."""
    found = Programs("001", llmring)
    call = "origin=origin, id_at_origin=id_at_origin, provider=provider, model_name=model_name, prompt_tokens=1000"
    call += ", completion_tokens=500, response_time_ms=250.0"
    known = {
        "url": postgres.database(),
        "provider": "openai",
        "model_name": "gpt-4o-mini",
        "origin": "myapp",
        "id_at_origin": "user-1",
    }
    opened = []
    found.data |= {**known, "LLMDatabase": lambda *args, **given: opened.append(llmring.LLMDatabase(*args, **given)) or opened[-1]}
    found.run(2, **{"url": '"postgresql://..."', "(url,": "(...,", f"({call})": "(...)"})
    manager = found["db_manager"]
    assert 1 == manager.get_usage_stats("myapp", "user-1").total_calls
    for place in (*opened, manager):  # the program drops the first, and the second does not own the manager
        place.close()

    found.data |= {**known, "made": "llmring.db"}
    found.run(3, **{f"({call})": "(...)"})
    with llmring.LLMRingSQLite(origin="myapp") as service:
        service.chat(llmring.LLMRequest(model="gpt-4o-mini", messages=HELLO), "user-1")
        stats = service.get_usage_stats("myapp", "user-1")
        calls = service.list_recent_calls("myapp", "user-1")

    assert (2, Decimal(1), 2) == (stats.total_calls, stats.success_rate, len(calls))
    for name in ("total_calls", "total_tokens", "total_cost", "avg_cost_per_call", "success_rate"):  # program 7
        assert getattr(stats, name) > 0
    assert Decimal("0.00045") == calls[1].cost


def test_the_cache_of_document_001(simulator):
    """Asked for, up to a temperature of 0.1; beside a database answers outlive the process."""
    found = Programs("001", llmring)
    found.run(8)
    asked = found["request"]
    for _ in range(2):  # as another process would
        with llmring.LLMRingSQLite() as service:
            assert "Paris." == service.chat(asked).content
    assert 1 == len(simulator.requests)

    with llmring.LLMRing() as service:
        for fields in ({"temperature": 0.2}, {"temperature": None}, {"cache": None}):
            for _ in range(2):
                service.chat(attrs.evolve(asked, **fields))
        for _ in range(2):
            service.chat(asked)
    assert 1 + 6 + 1 == len(simulator.requests)


def test_document_002(simulator, caplog, monkeypatch):
    """The API's service in process: models, usage, receipts; nothing is sent to the address, which the log says."""
    caplog.set_level(logging.WARNING, "llmdispatcher.integrations")
    found = Programs("002", llmring)
    found.data |= {"hello": [{"role": "user", "content": "Hi"}]}
    called = '"gpt-4o-mini", "openai", 1000, 500, 200, latency_ms=12.5, origin="myapp", metadata={"plan": "pro"}'

    found.run(2)
    found.run(3)
    ring, service = found["ring"], found["api_service"]
    assert {"openai"} == {model.provider for model in found["models"]}
    assert ("Paris.", "gpt-4o-mini", 128_000) == (found["response"].content, found["model"].model_name, found["model"].max_context)
    assert (0, "rcpt_", "ed25519:") == (found["stats"].total_requests, found["receipt"].id[:5], found["receipt"].signature[:8])
    assert found["receipt"].id == service.get_receipt(found["receipt"].id).id
    found.run(4, **{f"({called})": "(...)"})
    assert Decimal("0.000435") == found["response"].cost
    found.run(9, hello="[...]")
    call = service.list_recent_calls(limit=1)[0]
    assert ({"user_id": "user123", "session_id": "sess456", "feature": "chat", "experiment": "v2"}, "success") == (
        dict(call.metadata),
        call.status,
    )
    found.run(10)
    found["ring"].complete(model="gpt-4o-mini", messages=found["hello"])
    assert (1, 4) == (service.get_usage_stats(origin="tenant-123").total_requests, service.get_usage_stats().total_requests - 1)
    ring.close()

    with pytest.raises(ours.ConfigError, match="register_webhook: there is no service"):
        found.run(8)
    assert caplog.messages
    assert {"llmring: no service is asked yet, so nothing is sent to 'https://api.llmring.ai'"} == {
        text.partition(": usage")[0] for text in caplog.messages
    }


def test_moving_and_the_whole_flow_of_document_002(simulator, capsys):
    """Calls are exported from one database and imported into another, twice the same; the last program runs whole."""
    found = Programs("002", llmring)
    with llmring.LLMRing(use_local_db=True) as ring:
        ring.complete(model="gpt-4o-mini", messages=HELLO)
    found.run(5)
    found.run(6)
    found.run(6)
    assert [1, 1] == [len(found["usage_logs"]), found["api_service"].get_usage_stats().total_requests]
    found.run(7)
    found.run(11)
    found.data["__name__"] = "__main__"
    found.run(12)
    said = capsys.readouterr().out

    assert re.search(r"Registry version: \d{4}\.\d\d\.\d\d\nModel: gpt-4o-mini\nMax context: 128000\nInput cost: \$0\.15/M\n", said)
    assert re.search(r"Total requests: 0\nReceipt ID: rcpt_\w+\nSignature: ed25519:", said)


def test_calls_that_are_written_down_by_hand(tmp_path, monkeypatch):
    """Into a new database; settings become metadata, the text of an error is not kept."""
    monkeypatch.chdir(tmp_path)
    for database in (llmring.SQLiteDatabase("own.db"), llmring.LLMDatabase(db_manager=llmring.AsyncDatabaseManager("other.db"))):
        facts = {"temperature": 0.5, "tools_used": True, "error_type": "RateLimitError", "error_message": "sk-1", "status": "error"}
        made = database.record_api_call(provider="openai", model_name="gpt-4o-mini", prompt_tokens=9, origin="a", **facts)
        [call] = database.list_recent_calls("a")
        database.close()
        database.ledger.close()

        assert (made, "RateLimitError", {"temperature": 0.5, "tools_used": True}) == (
            call.id,
            call.error_class,
            dict(call.metadata),
        )
        assert "sk-1" not in str(call)


def test_what_is_not_there_in_process_is_told(simulator):
    """By its name, and with what to use."""
    with llmring.LLMRing() as ring:
        for ask, told in (
            (ring.get_usage_stats, "get_usage_stats: there is no database; give db_connection_string"),
            (lambda: ring.get_provider("opneai"), "name: 'opneai' is no provider here; there are openai, anthropic"),
            (lambda: llmring.APIService().get_registry("2020.01.01"), "version: there is 2026"),
            (lambda: ring.resolve_alias("nothing"), "nothing"),
            (lambda: ring.calculate_cost(llmring.LLMResponse(content="", model="gpt-9", usage={}, finish_reason=None)), "gpt-9"),
            (
                lambda: ring.calculate_cost(llmring.LLMResponse(content="", model="gpt-4o", usage={}, finish_reason=None)),
                "no_usage",
            ),
            (lambda: ring.chat({"model": "fast"}), "request: dict is not an LLMRequest"),
            (lambda: llmring.LLMDatabase(db_manager="a.db"), "db_manager: str is no database here"),
            (
                lambda: llmring.LLMRing(dispatcher=ring.dispatcher, db_connection_string="a.db"),
                "db_connection_string: the dispatcher",
            ),
            (lambda: llmring.LLMRing(api_url="http://a", db_connection_string="a"), "db_connection_string, api_url: give one"),
            (lambda: llmring.LLMRing(use_local_db=True, db_connection_string="a"), "db_connection_string, use_local_db: give one"),
        ):
            with pytest.raises(ours.DispatchError, match=told):
                ask()
    for make, told in (
        (lambda: llmring.LLMRing(orgin="a"), "did you mean 'origin'"),
        (lambda: llmring.LLMRequest(modle="a"), "'model'"),
    ):
        with pytest.raises(TypeError, match=told):
            make()


def test_document_004(simulator, capsys):
    """The service: completions, chats, streams, providers, functions, figures and health."""
    found = Programs("004", llm_proxy)
    found.run(0)
    for number in (1, 2, 3):
        found.run(number)
    assert "Paris.\nParis.\nParis." == capsys.readouterr().out
    assert ["user"] == [message["role"] for message in simulator.requests[0].json["messages"]]
    assert (0.7, 200) == (simulator.requests[0].json["temperature"], simulator.requests[0].json["max_tokens"])
    assert simulator.requests[2].json["stream"]

    simulator.script(SimulatedResponse(tool_calls=[ToolCall(id="c1", name="get_weather", arguments='{"location": "NYC"}')]))
    found.run(6)
    assert 'Function: get_weather\nArguments: {"location": "NYC"}\n' == capsys.readouterr().out
    assert ["location", "unit"] == list(simulator.requests[-1].json["tools"][0]["function"]["parameters"]["properties"])

    found.run(1)  # the same question again
    found.run(7)
    said = capsys.readouterr().out
    assert said.startswith("Paris.\nTotal requests: 5\nCache hits: 1\nTotal cost: $0.00\n")
    assert "Service status: healthy\n  openai: healthy\n  anthropic: healthy\nopenai:\n  Requests: 4\n" in said
    assert "  Error rate: 0.00%\n" in said

    found.run(12)
    for _ in range(2):
        found["service"].generate_completion(found["request"])
    assert 6 == sum(one.path.endswith("/completions") for one in simulator.requests)
    found.run(11, **{"pass": "# Use OpenAI", "0": "# Fallback to another provider"})
    found.run(13)
    assert "Remaining: None/None\n" == capsys.readouterr().out
    simulator.always(faults.status(400))
    found.run(9)
    assert capsys.readouterr().out.startswith("LLM Proxy error: openai:")
    found["service"].stop()
    assert "stopped" == found["service"].health_check()["status"]


def test_providers_and_strategies_of_document_004(simulator):
    """Providers that are registered, with limits; each strategy asks as it says."""
    found = Programs("004", llm_proxy)
    found["service"] = service = llm_proxy.LLMProxyService(max_retries=0)
    found.run(1)
    assert ["openai", "anthropic"] == service.list_providers()
    found.run(4)  # in the place of those of the environment
    assert (1, 1) == (service.get_service_stats()["total_requests"], service.get_provider_metrics("openai")["request_count"])
    service.register_provider("Anthropic", llm_proxy.AnthropicProvider(attrs.evolve(found["anthropic_config"], rate_limit=None)))
    assert ["openai", "Anthropic"] == service.list_providers()
    service.register_provider("anthropic", llm_proxy.AnthropicProvider(found["anthropic_config"]))
    request = llm_proxy.create_chat_request(HELLO, model="openai")
    answers = [service.generate_completion(attrs.evolve(request, model=name, prompt=None)) for name in ("openai", "anthropic")]
    assert [("openai", "gpt-4"), ("anthropic", "claude-3-sonnet")] == [(answer.provider, answer.model) for answer in answers]
    assert {"remaining": 59, "limit": 60} == {
        name: service.get_rate_limit_status("openai")[name] for name in ("remaining", "limit")
    }
    assert ["openai", "anthropic"] == service.list_providers()
    service.stop()
    found.run(5)
    found["service"].stop()


def test_a_provider_that_is_replaced_often():
    """The answers that were kept for those before are given back, and not held until the service stops."""
    service = llm_proxy.LLMProxyService()
    first, request = FakeVendor("one", name="a"), llm_proxy.create_chat_request(HELLO, model="m")
    service.register_provider("a", first)
    assert ["one", "one"] == [service.generate_completion(request).content for _ in range(2)]
    service.register_provider("a", FakeVendor("two", name="a"))
    asked = first.hits
    service._dispatchers[0].send(request.to_request())

    assert ("two", 1, 2) == (service.generate_completion(request).content, asked, first.hits)
    service.stop()


def test_a_cost_of_ones_own_beside_those_of_the_catalog(simulator):
    """Decides who is asked first; without it the catalog does, in which a local server is free."""
    for cost, first in ((0.0000001, "mine"), (1, "openai"), (None, "mine")):
        service = llm_proxy.LLMProxyService(load_balance_strategy="cost_optimized", max_retries=0)
        config = llm_proxy.ModelConfig(
            provider="local",
            model_name="gpt-4o-mini",
            api_endpoint=simulator.openai_url,
            api_key="sk-3",
            cost_per_1k_tokens=cost,
        )
        service.register_provider("mine", llm_proxy.LLMProviderBase(config))
        answer = service.generate_completion(llm_proxy.create_completion_request("Why?", model="gpt-4o-mini"))

        assert (first, "gpt-4o-mini") == (answer.provider, answer.model)
        service.stop()


@each(
    "strategy, asked",
    [
        ("round_robin", "abca"),
        ("ROUND_ROBIN", "abca"),
        ("cost_optimized", "cccc"),
        (llm_proxy.LoadBalanceStrategy.LEAST_LOADED, "abca"),
        (llm_proxy.LoadBalanceStrategy.FASTEST_RESPONSE, "abc"),
        ("weighted", "bbbb"),
    ],
)
def test_who_is_asked_first(monkeypatch, strategy, asked):
    """By each strategy, from the argument and from the environment; other settings do not count."""
    monkeypatch.setenv("LLM_PROXY_LOAD_BALANCE", strategy)
    monkeypatch.setenv("LLM_PROXY_CACHE_SIZE", "0")
    settings = {"a": (0.3, 1, 0), "b": (0.2, 3, 1), "c": (0.1, 2, 0)}
    services = [llm_proxy.LLMProxyService(load_balance_strategy=strategy, cache_size=0, max_retries=0), llm_proxy.LLMProxyService()]
    for service in services:
        for name, (cost, priority, weight) in settings.items():
            config = llm_proxy.ModelConfig(
                provider="mock", model_name="m", cost_per_1k_tokens=cost, priority=priority, weight=weight
            )
            service.register_provider(name, llm_proxy.MockProvider(config))
        made = [
            service.generate_completion(llm_proxy.create_completion_request(f"{turn}?", model="m")) for turn in range(len(asked))
        ]

        assert asked == "".join(answer.provider for answer in made)
        assert ("Mock response to: 0?...", 30) == (made[0].content, made[0].usage["total_tokens"])
        service.stop()


@each("failover, asked", [(True, "acb"), (False, "a")])
def test_failover_of_document_004(failover, asked):
    """Goes on by priority, and can be switched off."""
    service = llm_proxy.LLMProxyService(enable_failover=failover, max_retries=0)
    vendors = [FakeVendor(ours.VendorUnavailable("down", status=503), name=name) for name in "abc"]
    order = []
    for vendor, priority in zip(vendors, (1, 3, 2), strict=True):
        provider = llm_proxy.MockProvider(llm_proxy.ModelConfig(provider="mock", model_name="m", priority=priority))
        provider.to_vendor = lambda _name, vendor=vendor: vendor
        vendor.send = lambda request, deadline, vendor=vendor, send=vendor.send: (
            order.append(vendor.name),
            send(request, deadline),
        )[1]
        service.register_provider(vendor.name, provider)
    with pytest.raises(llm_proxy.LLMProxyError):
        service.generate_completion(llm_proxy.create_completion_request("Why?", model="m"))

    assert asked == "".join(order)
    assert (1.0, 1) == (service.get_provider_metrics("a")["error_rate"], service.get_service_stats()["failed_requests"])
    service.stop()


def test_the_application_of_document_004(simulator, capsys, monkeypatch):
    """Asks until its user quits; the service of the process is one, and runs."""
    typed = iter(["Hello", "And then?", "quit"])
    monkeypatch.setattr("builtins.input", lambda _prompt: next(typed))
    found = Programs("004", llm_proxy)
    found.data["__name__"] = "__main__"
    found.run(10)
    found["request"] = llm_proxy.create_completion_request("Why?")
    found.run(8)

    assert ["Assistant: Paris."] * 2 == [line for line in capsys.readouterr().out.splitlines() if line.startswith("Assistant")]
    assert "Paris." == found["response"].content
    assert found["llm"] is llm_proxy.get_llm_service()
    found["llm"].stop()
    assert llm_proxy.get_llm_service() is not found["llm"]
    llm_proxy.get_llm_service().stop()


@each(
    "make, told",
    [
        (lambda: llm_proxy.LLMProxyService(load_balance_strategy="fastest"), "did you mean 'fastest_response'"),
        (lambda: llm_proxy.LLMProxyService().get_provider_metrics("nobody"), "'nobody' is no provider; there are nothing"),
        (lambda: llm_proxy.LLMProxyService(cache_sise=3), "did you mean 'cache_size'"),
        (lambda: llm_proxy.create_chat_request(HELLO, temprature=1), "did you mean 'temperature'"),
        (lambda: llm_proxy.ModelConfig(provider="opneai", model_name="m"), "did you mean 'openai'"),
        (lambda: llm_proxy.LLMProxyService(max_retries=-1), "max_retries"),
        (lambda: llm_proxy.LLMProxyService().generate_completion({"prompt": "Why?"}), "request: dict is not an LLMRequest"),
        (lambda: llm_proxy.LLMProxyService().register_provider("a", "openai"), "provider: str is no provider"),
        (lambda: llm_proxy.LLMProxyService().register_provider("a", FakeVendor(name="b")), "its name is 'b', and not 'a'"),
    ],
)
def test_mistakes_with_document_004(make, told):
    """Are told by their names."""
    with pytest.raises((ours.ConfigError, ours.InvalidRequest, TypeError), match=told):
        make()
