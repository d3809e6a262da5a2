"""Prometheus, by its own client and text format, and one line of the log for each call."""

from __future__ import annotations

import logging

import pytest

from llmdispatcher import (
    Config,
    ConfigError,
    Dispatcher,
    DispatchError,
    OpenAIVendor,
    RateLimit,
    Request,
    RetryPolicy,
    VendorUnavailable,
)
from llmdispatcher.integrations.logging import CallLogging
from llmdispatcher.testing import FakeVendor, VendorSimulator

ASK = Request("gpt-4o-mini", "A secret?", user="ada\nINFO forged", origin="shop")


def dispatcher_with(simulator, *observers, **settings):
    """A vendor that is down, then one that answers."""
    config = Config(default_vendor="down", retry_policy=RetryPolicy(max_retries=0), **settings)
    made = Dispatcher(config, observers=observers)
    made.register_vendor(FakeVendor(*[VendorUnavailable("away", status=503)] * 9, name="down"))
    made.register_vendor(OpenAIVendor(api_key="sk", base_url=simulator.openai_url))
    return made


def test_metrics():
    """What a scrape shows: calls, attempts, failovers, tokens and cost."""
    client = pytest.importorskip("prometheus_client", reason="prometheus-client is not installed; scripts/test installs it")
    from llmdispatcher.integrations.prometheus import Prometheus

    registry = client.CollectorRegistry()
    observer = Prometheus(registry)
    with VendorSimulator() as simulator:
        with dispatcher_with(simulator, observer) as dispatcher:
            answer = dispatcher.send(ASK)
            dispatcher.send_streaming(Request("gpt-4o", "Why?")).response()
            with pytest.raises(DispatchError):
                dispatcher.send(Request("anthropic:claude-haiku-4-5", "x"))
        with Dispatcher({"cache": True}, observers=[observer]) as dispatcher:
            dispatcher.register_vendor(OpenAIVendor(api_key="sk", base_url=simulator.openai_url))
            for _ in range(2):
                dispatcher.send(Request("gpt-4.1", "Why?"))
    text = client.generate_latest(registry).decode()

    def value(name, **labels):
        return registry.get_sample_value(f"llmdispatcher_{name}", labels)

    mini = {"vendor": "openai", "model": "gpt-4o-mini"}
    assert (1, 1) == (value("calls_total", **mini, result="ok", cached="false"), value("failovers_total", **mini))
    assert 1 == value("calls_total", vendor="openai", model="", result="ok", cached="true")
    assert 1 == value("calls_total", vendor="", model="", result="ConfigError", cached="false")
    assert 1 == value("attempts_total", vendor="down", model="gpt-4o-mini", result="VendorUnavailable")
    assert answer.usage.output_tokens == value("tokens_total", **mini, kind="output")
    assert pytest.approx(float(answer.usage.cost)) == value("cost_dollars_total", **mini)
    assert 1 == value("first_token_seconds_count", vendor="openai", model="gpt-4o")
    assert 5 == sum(value("call_seconds_count", vendor=vendor) for vendor in ("openai", ""))
    assert "secret" not in text


def test_warnings_are_counted():
    """By limit, and not by whose account it is."""
    client = pytest.importorskip("prometheus_client", reason="prometheus-client is not installed; scripts/test installs it")
    from llmdispatcher.integrations.prometheus import Prometheus

    registry = client.CollectorRegistry()
    made = FakeVendor("Hello.", name="openai")
    made.rate_limit = RateLimit(requests_per_day=2, warn_at=0.5)
    with Dispatcher(observers=[Prometheus(registry)]) as dispatcher:
        dispatcher.register_vendor(made)
        for _ in range(2):
            dispatcher.send(Request("m", "Hi", user="ann"))
    labels = {"source": "rate_limit", "name": "openai", "unit": "requests", "period": "24h"}
    assert 1 == registry.get_sample_value("llmdispatcher_limit_warnings_total", labels)


def test_labels_are_bounded():
    """Where the users of an application name the models, their number is no danger."""
    client = pytest.importorskip("prometheus_client", reason="prometheus-client is not installed; scripts/test installs it")
    from llmdispatcher.integrations import prometheus

    registry = client.CollectorRegistry()
    with Dispatcher(observers=[prometheus.Prometheus(registry)]) as dispatcher:
        dispatcher.register_vendor(FakeVendor("yes", name="a"))
        dispatcher.send(Request("\ud800" + "m" * 5_000, "x"))  # which could not be written, and would end every scrape
        for number in range(prometheus.MOST_TARGETS + 49):
            dispatcher.send(Request(f"m{number}", "x"))
    models = {sample.labels["model"] for metric in registry.collect() for sample in metric.samples if "model" in sample.labels}

    assert prometheus.MOST_TARGETS + 1 == len(models)
    assert len(client.generate_latest(registry)) < 2_000_000
    assert max(map(len, models)) == 200
    assert 50 == registry.get_sample_value("llmdispatcher_attempts_total", {"vendor": "other", "model": "other", "result": "ok"})


def test_one_line_a_call(caplog):
    """With what it was, nothing that was said, and nothing that could forge a line."""
    caplog.set_level(logging.INFO, "llmdispatcher.calls")
    with VendorSimulator() as simulator, dispatcher_with(simulator, CallLogging()) as dispatcher:
        response = dispatcher.send(ASK)
        with pytest.raises(DispatchError):
            dispatcher.send(Request("anthropic:claude-haiku-4-5", "x"))
    good, bad = [record for record in caplog.records if record.name == "llmdispatcher.calls"]

    assert ("INFO", "WARNING") == (good.levelname, bad.levelname)
    for part in ("vendor=openai", "attempts=2", "origin=shop", f"cost={response.usage.cost:f}", f"call={good.llm['call']}"):
        assert part in good.getMessage()
    assert "error=ConfigError" in bad.getMessage()
    assert ("\n" in good.getMessage(), "secret" in good.getMessage()) == (False, False)
    assert response.usage.output_tokens == good.llm["output_tokens"]


def test_a_line_for_each_attempt(caplog):
    """Where that is wanted."""
    caplog.set_level(logging.INFO, "mine")
    with VendorSimulator() as simulator, dispatcher_with(simulator, CallLogging("mine", attempts=True)) as dispatcher:
        dispatcher.send(ASK)

    assert [True, True, False] == [record.getMessage().startswith("attempt") for record in caplog.records if record.name == "mine"]


def test_logging_and_metrics_by_the_configuration(caplog, tmp_path):
    """The switches of a Go user's configuration: a line for each call, off unless told; counts of calls, on unless told."""
    caplog.set_level(logging.INFO, "llmdispatcher.calls")

    def lines():
        return len([record for record in caplog.records if record.name == "llmdispatcher.calls"])

    file = tmp_path / "llm.toml"
    file.write_text("enable_logging = true\nenable_metrics = false\n")
    counts = []
    for dispatcher in (Dispatcher(), Dispatcher({"enable_logging": True}), Dispatcher.from_file(file)):
        with dispatcher:
            dispatcher.register_vendor(FakeVendor("yes"))
            dispatcher.send(Request("m", "A secret?"))
            counts.append((dispatcher.get_stats().total_requests, lines()))

    assert [(1, 0), (1, 1), (0, 2)] == counts
    with pytest.raises(ConfigError, match="observers: int is not a list"):
        Dispatcher({"enable_logging": True}, observers=5)
    assert (True, False) == ("vendor=fake" in caplog.text, "secret" in caplog.text)
