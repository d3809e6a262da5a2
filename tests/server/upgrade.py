"""Two hosts of two workers are upgraded and rolled back, one after the other, while streams are under way all the time.

The new version is a copy of this one with a schema that is one revision further, in the keys' tables and in those of the ledger.
``python -m tests.server.upgrade`` runs the long form, with each server, and prints the figures; the short form is in
``test_upgrade.py``.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import attrs
import requests
import sqlalchemy as sa

import llmdispatcher
from llmdispatcher import Response, Usage
from llmdispatcher.server import KeyStore
from llmdispatcher.server.key_database import VERSION
from llmdispatcher.testing import VendorSimulator

from ..conftest import PATIENCE
from ..loopback_postgres import Postgres, binaries
from ..loopback_redis import Server, quiet_port
from ..orphans import mortal
from .processes import end, is_ready

TEXT = " ".join(f"word{number}" for number in range(24))
USAGE = Usage(input_tokens=1000, output_tokens=100)
BODY = {"model": "gpt-4o-mini", "max_tokens": 200, "messages": [{"role": "user", "content": "Why is the sky blue? " * 20}]}
NOW = Path(llmdispatcher.__file__).parent.parent
"""The version that is tested: the folder that has the package."""
_CONFIG = """default_vendor = "openai"
retry_policy = {{ max_retries = 0 }}
ledger = "{ledger}"
[vendors.openai]
api_key = "sk-of-the-gateway"
base_url = "{url}"
"""
_EXPANSION = """\
    for table in (keys, owners):
        connection.exec_driver_sql(f"ALTER TABLE {table.name} ADD COLUMN IF NOT EXISTS further VARCHAR(64)")
    connection.exec_driver_sql("CREATE TABLE IF NOT EXISTS llmdispatcher_key_further (id INTEGER)")
"""
_MIGRATION = '''"""What the next version adds."""

import sqlalchemy as sa
from alembic import op

revision, down_revision = "{next}", "{now}"


def upgrade():
    """Expand."""
    for table in ("calls", "budgets"):
        op.add_column(f"llmdispatcher_{{table}}", sa.Column("further", sa.String(64)))
    op.create_table("llmdispatcher_further", sa.Column("id", sa.Integer, primary_key=True))
'''


def next_version(folder: Path) -> Path:
    """A copy of the program whose tables have columns, and a table, that this version does not know."""
    package = folder / "llmdispatcher"
    shutil.copytree(NOW / "llmdispatcher", package, ignore=shutil.ignore_patterns("__pycache__"))
    path = package / "server" / "key_database.py"
    changed = f"VERSION, OLDEST = {VERSION + 1}, {VERSION}"
    text, versions = re.subn(r"(?m)^VERSION, OLDEST = \d+, \d+$", changed, path.read_text())
    text, steps = re.subn(r"(?m)^(?=    connection.execute\(_versions.delete\(\)\)$)", _EXPANSION, text)
    assert (versions, steps) == (1, 1), "the copy is changed by the form of the source"
    path.write_text(text)
    migrations = package / "accounting" / "ledger" / "migrations" / "versions"
    now = max(re.findall(r"v(\d{4})_", " ".join([file.name for file in migrations.glob("v*.py")])))
    name = f"{int(now) + 1:04d}"
    (migrations / f"v{name}_further.py").write_text(_MIGRATION.format(next=name, now=now))
    return folder


@attrs.define(eq=False)
class Host:
    """One host: its port, which it keeps, and the process that serves there now."""

    port: int
    process: subprocess.Popen[bytes] | None = None
    leaves: bool = False
    """Whether the balancer has been told that it ends."""
    answered: int = 0
    """Streams that were whole since the process began."""

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.port}"


class Balancer:
    """Chooses a host as a deployment does: one that says that it is ready, and the next where a connection is refused.

    What fails after a connection was made is broken: nobody may send a request to a model a second time.
    """

    LOOK = 0.2
    """Seconds between two looks."""

    def __init__(self, hosts: list[Host]) -> None:
        self._hosts, self._ready, self._turn = hosts, set(hosts), itertools.count()
        self._over = threading.Event()
        self._looking = threading.Thread(target=self._look)

    def __enter__(self) -> Balancer:
        self._looking.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._looking.join()

    def _look(self) -> None:
        while not self._over.wait(self.LOOK):
            for one in self._hosts:
                (self._ready.add if is_ready(one.url) else self._ready.discard)(one)

    def connect(self) -> tuple[Host, http.client.HTTPConnection] | None:
        """A connection to a host that takes it; ``None`` where there is none."""
        turn = next(self._turn)
        hosts = [one for one in self._hosts if not one.leaves]
        order = sorted(hosts, key=lambda one: (one not in self._ready, (self._hosts.index(one) + turn) % len(self._hosts)))
        for one in order:
            connection = http.client.HTTPConnection("127.0.0.1", one.port, timeout=120)
            with contextlib.suppress(ConnectionRefusedError):
                connection.connect()
                return one, connection
        return None


class Deployment:
    """Hosts over one PostgreSQL and one Redis, the simulated vendor that they ask, and clients that stream all the time."""

    def __init__(self, place: str, redis: str, folder: Path, *, server: str = "granian", pace: float = 25.0) -> None:
        self._place, self._redis, self._folder, self._server = place, redis, folder, server
        self.simulator = VendorSimulator(latency=0.02, keep=100, tokens_per_second=pace)
        self.simulator.always(Response(content=TEXT, model="gpt-4o-mini", vendor="openai", finish_reason="stop", usage=USAGE))
        self.store = KeyStore(place)
        self.store.budgets.prepare()
        self.hosts = [Host(quiet_port()), Host(quiet_port())]
        self.outcomes: Counter[str] = Counter()
        self._lock, self._over = threading.Lock(), threading.Event()
        (folder / "config.toml").write_text(_CONFIG.format(url=self.simulator.openai_url, ledger=place))

    def start(self, host: Host, code: Path) -> None:
        """Start a version on a host, and wait until it is ready."""
        options = {"config": str(self._folder / "config.toml"), "database": self._place}
        options["redis"] = f"{self._redis}?socket_timeout=20"
        workers = "1" if self._server == "waitress" else "2"
        if self._server == "gunicorn":
            words = ["gunicorn", "-k", "gthread", "--threads", "256", "-w", workers, "--graceful-timeout", "120"]
            words += ["--no-control-socket", "-b", f"127.0.0.1:{host.port}", "llmdispatcher.server.serve:make_worker()"]
        else:
            words = ["llmdispatcher", "serve", "--server", self._server, "--port", f"{host.port}", "--workers", workers]
            words += ["--threads", "512", *[word for name, value in options.items() for word in (f"--{name}", value)]]
        variables = {**self._environment(code), "LLMDISPATCHER_SERVE": json.dumps({**options, "threads": 512})}
        with (self._folder / f"log-{host.port}").open("ab") as log:
            command = mortal([sys.executable, "-m", *words], ending=signal.SIGTERM)
            host.process = subprocess.Popen(command, env=variables, stdout=log, stderr=log, cwd=code)
        host.answered, last = 0, time.monotonic() + 15 * PATIENCE
        while not is_ready(host.url):
            assert host.process.poll() is None, self.log(host)
            assert time.monotonic() < last, self.log(host)
            time.sleep(0.1)

    def _environment(self, code: Path) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if name in ("PATH", "LANG", "TMPDIR")}
        return {**kept, "HOME": str(self._folder), "PYTHONUTF8": "1", "PYTHONPATH": str(code), "PYTHONDONTWRITEBYTECODE": "1"}

    def migrate(self, code: Path) -> None:
        """Bring the tables to a version, as the hook of a deployment does before its first host starts."""
        words = ["server", "migrate", "--database", self._place]
        found = subprocess.run(
            [sys.executable, "-c", "import llmdispatcher; print(llmdispatcher.__file__)"],
            env=self._environment(code), capture_output=True, text=True, check=True, cwd=code,
        )  # fmt: skip
        assert found.stdout.startswith(f"{code}/"), "another version would run"
        done = subprocess.run(
            [sys.executable, "-m", "llmdispatcher", *words],
            env=self._environment(code), capture_output=True, text=True, timeout=300, check=False, cwd=code,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr

    def log(self, host: Host) -> str:
        """What a host has written."""
        return (self._folder / f"log-{host.port}").read_text(errors="replace")[-8000:]

    def replace(self, host: Host, code: Path) -> None:
        """End a host as an orchestrator does, and start another version in its place; wait until that has answered, too.

        gunicorn drops what it has not begun to read when it ends, so its balancer is told before, as by Kubernetes' preStop.
        """
        assert host.process is not None
        if self._server == "gunicorn":
            host.leaves = True
            time.sleep(1.0)
        host.process.send_signal(signal.SIGTERM)
        assert host.process.wait(15 * PATIENCE) == 0, self.log(host)
        self.start(host, code)
        host.leaves = False
        last = time.monotonic() + 5 * PATIENCE
        while host.answered < 10:
            assert time.monotonic() < last, (self.outcomes, code, self.log(host)[-2000:])
            time.sleep(0.1)

    def stream(self, balancer: Balancer, secret: str) -> None:
        """One stream, from its beginning to its end; its outcome is counted."""
        found = balancer.connect()
        if found is None:
            self._count("refused: no host takes a connection")
            return
        host, connection = found
        try:
            outcome = self._read(connection, secret)
        except (OSError, http.client.HTTPException) as error:
            outcome = f"broken: {type(error).__name__}"
        finally:
            connection.close()
        host.answered += outcome == "whole"
        self._count(outcome)

    def _read(self, connection: http.client.HTTPConnection, secret: str) -> str:
        headers = {"Authorization": f"Bearer {secret}", "Content-Type": "application/json", "Connection": "close"}
        connection.request("POST", "/v1/chat/completions", json.dumps({**BODY, "stream": True}), headers)
        answer = connection.getresponse()
        if answer.status != 200:
            return f"refused: {answer.status} {json.loads(answer.read())['error']['code']}"
        events = [line[6:].strip() for line in answer.read().splitlines() if line.startswith(b"data: ")]
        chunks = [json.loads(event) for event in events if event != b"[DONE]"]
        text = "".join([choice["delta"].get("content") or "" for chunk in chunks for choice in chunk.get("choices", ())])
        return "whole" if (text, events[-1:]) == (TEXT, [b"[DONE]"]) else "broken: it is not whole"

    def _count(self, outcome: str) -> None:
        with self._lock:
            self.outcomes[outcome] += 1

    @contextlib.contextmanager
    def load(self, secret: str, streams: int) -> Iterator[None]:
        """So many streams at a time, within the block; after it each has ended."""

        def run(balancer: Balancer) -> None:
            while not self._over.is_set():
                self.stream(balancer, secret)

        with Balancer(self.hosts) as balancer:
            clients = [threading.Thread(target=run, args=(balancer,)) for _ in range(streams)]
            for one in clients:
                one.start()
            try:
                _until(lambda: self.outcomes.total() >= streams // 2)
                yield
            finally:
                self._over.set()
                for one in clients:
                    one.join()

    def close(self) -> None:
        """End all."""
        for one in self.hosts:
            if one.process is not None:
                end(one.process)
        self.store.close()
        self.simulator.close()


def deployment(place: str, redis: str, folder: Path, **settings: Any) -> contextlib.closing[Deployment]:
    """A deployment that ends with the block."""
    return contextlib.closing(Deployment(place, redis, folder, **settings))


@attrs.define(eq=False)
class SmallBudget:
    """A client whose strict budget is used up long before the end, and who asks again and again."""

    made: Deployment
    cost: Decimal
    answers: int = 12
    statuses: Counter[int] = attrs.field(factory=Counter)

    @contextlib.contextmanager
    def asking(self) -> Iterator[None]:
        """Ask within the block."""
        key, secret = self.made.store.create("small", budget=f"{self.cost * self.answers:f}", strict=True)
        over = threading.Event()

        def run() -> None:
            with Balancer(self.made.hosts) as balancer:
                while not over.wait(0.2):
                    found = balancer.connect()
                    if found is None:
                        self.statuses[0] += 1
                        continue
                    _, connection = found
                    with contextlib.closing(connection):
                        headers = {"Authorization": f"Bearer {secret}", "Connection": "close"}
                        with contextlib.suppress(OSError, http.client.HTTPException):
                            connection.request("POST", "/v1/chat/completions", json.dumps(BODY), headers)
                            self.statuses[connection.getresponse().status] += 1
                            continue
                        self.statuses[0] += 1

        asking = threading.Thread(target=run)
        asking.start()
        try:
            yield
        finally:
            over.set()
            asking.join()
        spent, reserved = balance(self.made, key.id)
        assert spent + reserved <= self.cost * self.answers, (spent, reserved)
        assert set(self.statuses) <= {200, 402}, self.statuses
        assert self.statuses[200] * self.cost == spent
        assert self.statuses[402] > 0, self.statuses


def _until(happened: Callable[[], object]) -> None:
    last = time.monotonic() + 5 * PATIENCE
    while not happened():
        assert time.monotonic() < last, "it has not happened in time"
        time.sleep(0.1)


def _asked(made: Deployment, query: str, **values: Any) -> Any:
    url = sa.make_url(made._place).set(drivername="postgresql+psycopg")
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    with engine.connect() as connection:
        return connection.execute(sa.text(query), values).one_or_none()


def balance(made: Deployment, key_id: str) -> tuple[Decimal, Decimal]:
    """What stands in the account of a key: spent, and reserved."""
    query = "SELECT spent, reserved FROM llmdispatcher_budgets WHERE share = :share AND name LIKE 'key/%'"
    row = _asked(made, query, share=key_id)
    return (Decimal(0), Decimal(0)) if row is None else (Decimal(row[0]).scaleb(-12), Decimal(row[1]).scaleb(-12))


def upgrade_and_roll_back(made: Deployment, further: Path, *, streams: int = 50, rounds: int = 1) -> dict[str, Any]:
    """Upgrade both hosts and bring both back, under streams: the figures, which are asserted."""
    for one in made.hosts:
        made.start(one, NOW)
    _, secret = made.store.create("to see a cost")
    asked = requests.post(f"{made.hosts[0].url}/v1/chat/completions", json=BODY, headers={"x-api-key": secret}, timeout=120)
    cost = Decimal(asked.headers["x-llmdispatcher-cost"])
    key, secret = made.store.create("streams", budget="1000", in_flight=10_000)
    before, small, begun = made.simulator.hits, SmallBudget(made, cost), time.monotonic()
    with made.load(secret, streams), small.asking():
        for _ in range(rounds):
            made.migrate(further)
            for code in (further, NOW):
                for one in made.hosts:
                    made.replace(one, code)
    took = time.monotonic() - begun
    served = made.simulator.hits - before - small.statuses[200]
    assert set(made.outcomes) == {"whole"}, made.outcomes
    assert served == made.outcomes["whole"]
    _until(lambda: balance(made, key.id)[1] == 0)
    assert balance(made, key.id) == (served * cost, Decimal(0))
    assert _asked(made, "SELECT version FROM llmdispatcher_key_versions")[0] == VERSION + 1
    for one in made.hosts:  # what waits to be written is written at the end
        assert one.process is not None
        one.process.send_signal(signal.SIGTERM)
        assert one.process.wait(15 * PATIENCE) == 0, made.log(one)
    query = "SELECT count(*), sum(cost_pico) FROM llmdispatcher_requests WHERE key_id = :key AND status = 200"
    recorded = _asked(made, query, key=key.id)
    assert (recorded[0], Decimal(recorded[1]).scaleb(-12)) == (served, served * cost)
    calls = _asked(made, "SELECT count(*), sum(cost) FROM llmdispatcher_calls WHERE status = 'success'")
    assert (calls[0], Decimal(calls[1]).scaleb(-12)) == (made.simulator.hits, made.simulator.hits * cost)
    return {"seconds": round(took, 1), "streams": served, "broken": 0, "refused": 0, "spent": served * cost, "bill": served * cost}


def main() -> None:
    """The long form."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--streams", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=3, help="upgrades and rollbacks, one after the other")
    parser.add_argument("--servers", default="granian,waitress,gunicorn")
    options = parser.parse_args()
    programs = binaries()
    assert programs is not None, "PostgreSQL is not installed"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "pg").mkdir()
        folder.chmod(0o755)
        postgres, redis = Postgres(programs, folder / "pg"), Server(folder)
        postgres.create()
        postgres.start()
        redis.start()
        try:
            further = next_version(folder / "next")
            for server in options.servers.split(","):
                (folder / server).mkdir()
                with deployment(postgres.database(), redis.url, folder / server, server=server, pace=10.0) as made:
                    figures = upgrade_and_roll_back(made, further, streams=options.streams, rounds=options.rounds)
                    print(f"{server}:", figures, flush=True)
        finally:
            redis.stop()
            postgres.stop()


if __name__ == "__main__":
    main()
