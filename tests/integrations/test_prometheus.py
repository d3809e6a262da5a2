"""Metrics scraped by a real Prometheus, and asked for in PromQL: of one process, and of several."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from llmdispatcher import Config, Dispatcher, DispatchError, OpenAIVendor, Request, RetryPolicy, VendorUnavailable
from llmdispatcher.testing import FakeVendor, VendorSimulator

from ..orphans import mortal

client = pytest.importorskip("prometheus_client", reason="prometheus-client is not installed; scripts/test installs it")
from llmdispatcher.integrations.prometheus import Prometheus  # noqa: E402 - it needs the client

WORKERS = """
import os, sys
from prometheus_client import CollectorRegistry, multiprocess, start_http_server
from llmdispatcher import Dispatcher, Request
from llmdispatcher.integrations.prometheus import Prometheus
from llmdispatcher.testing import FakeVendor

dispatcher = Dispatcher(observers=[Prometheus()])
dispatcher.register_vendor(FakeVendor(*["yes"] * 20))
dispatcher.send(Request("m", "before the fork"))
for count in (3, 4):
    if (child := os.fork()) == 0:
        for _ in range(count):
            dispatcher.send(Request("m", "in a worker"))
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
registry = CollectorRegistry()
multiprocess.MultiProcessCollector(registry)
start_http_server(int(sys.argv[1]), "127.0.0.1", registry)
sys.stdin.read()
"""


def test_one_process(prometheus_server):
    """Calls, failovers, tokens, cost and durations, as an operator asks for them."""
    registry = client.CollectorRegistry()
    server, thread = client.start_http_server(prometheus_server.take_port(), "127.0.0.1", registry)
    config = Config(default_vendor="down", retry_policy=RetryPolicy(max_retries=0))
    with VendorSimulator() as simulator, Dispatcher(config, observers=[Prometheus(registry)]) as dispatcher:
        dispatcher.register_vendor(FakeVendor(*[VendorUnavailable("away", status=503)] * 9, name="down"))
        dispatcher.register_vendor(OpenAIVendor(api_key="sk", base_url=simulator.openai_url))
        answers = [dispatcher.send(Request("gpt-4o-mini", "Why?")) for _ in range(3)]
        answers.append(dispatcher.send_streaming(Request("gpt-4o-mini", "Why?")).response())
        with pytest.raises(DispatchError):
            dispatcher.send(Request("anthropic:claude-haiku-4-5", "x"))
    try:
        mini = 'vendor="openai",model="gpt-4o-mini"'
        prometheus_server.await_value(f'llmdispatcher_calls_total{{{mini},result="ok"}}', 4)
        prometheus_server.await_value('llmdispatcher_calls_total{result="ConfigError"}', 1)
        prometheus_server.await_value(f"llmdispatcher_failovers_total{{{mini}}}", 4)
        prometheus_server.await_value(
            f'llmdispatcher_tokens_total{{{mini},kind="output"}}', sum(answer.usage.output_tokens for answer in answers)
        )
        prometheus_server.await_value('sum(llmdispatcher_attempts_total{result="VendorUnavailable"})', 4)
        prometheus_server.await_value(f"llmdispatcher_first_token_seconds_count{{{mini}}}", 1)
        [cost] = prometheus_server.ask("query", query=f"llmdispatcher_cost_dollars_total{{{mini}}}")["result"]
        [slow] = prometheus_server.ask("query", query=f"histogram_quantile(0.9, llmdispatcher_attempt_seconds_bucket{{{mini}}})")[
            "result"
        ]
        kinds = {name: facts[0]["type"] for name, facts in prometheus_server.ask("metadata").items()}
    finally:
        server.shutdown()
        server.server_close()
        thread.join()

    assert pytest.approx(float(sum(answer.usage.cost for answer in answers))) == float(cost["value"][1])
    assert 0 < float(slow["value"][1]) <= 600
    assert ("counter", "histogram") == (kinds["llmdispatcher_calls"], kinds["llmdispatcher_call_seconds"])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no forks")
def test_several_processes(prometheus_server, tmp_path):
    """Workers that were forked count together, by prometheus-client's own way for several processes."""
    environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
    command = mortal([sys.executable, "-c", WORKERS, str(prometheus_server.take_port())])
    with subprocess.Popen(command, stdin=subprocess.PIPE, env=environment, text=True) as process:
        try:
            prometheus_server.await_value('llmdispatcher_calls_total{vendor="fake",model="m"}', 1 + 3 + 4)
            prometheus_server.await_value('llmdispatcher_call_seconds_count{vendor="fake"}', 1 + 3 + 4)
        finally:
            process.kill()
