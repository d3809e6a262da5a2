"""A PostgreSQL server of the tests' own, on the loopback, with nothing on disk that outlives them; and PgBouncer before it."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from llmdispatcher import open_ledger
from tests.loopback_redis import quiet_port
from tests.orphans import mortal

PATIENCE = 200.0
"""Seconds that a busy machine may need to start it or to end it."""
ENDINGS = {"immediate": signal.SIGQUIT, "fast": signal.SIGINT, "smart": signal.SIGTERM}
SETTINGS = {  # a commit outlives a crash of the server, which a test may make, and not one of the machine
    "fsync": "off",
    "full_page_writes": "off",
    "listen_addresses": "127.0.0.1",
    "max_connections": "60",
    "shared_buffers": "64MB",
    "log_min_messages": "fatal",
}
ENVIRONMENT = {"PATH": os.defpath, "LC_ALL": "C"}
POOLER = """[databases]
* = host=127.0.0.1 port={server} user=tester
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = {size}
"""


def binaries() -> Path | None:
    """The newest folder of programs that has ``initdb`` and ``postgres``; a distribution may keep them off the path."""
    found = [Path(path).resolve().parent for path in [shutil.which("initdb")] if path]
    found += sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name.split(".")[0]), reverse=True)
    return next((path for path in found if (path / "initdb").exists() and (path / "postgres").exists()), None)


def _somebody() -> tuple[int, int] | None:
    """Whom to run it as: the server refuses to run as root."""
    if os.getuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            entry = pwd.getpwnam(name)
            return entry.pw_uid, entry.pw_gid
    return None


class Postgres:
    """A server on a free port that can be stopped and started; each ``database()`` is new and empty."""

    def __init__(self, programs: Path, folder: Path) -> None:
        self._programs = programs
        self._folder = folder
        self._data = folder / "data"
        self._owner = _somebody()
        self._process: subprocess.Popen[bytes] | None = None
        self._tables = ""
        self.port = quiet_port()
        self.url = self.url_of("postgres")
        self.socket = folder / f".s.PGSQL.{self.port}"

    def url_of(self, database: str) -> str:
        """The address of a database of this server."""
        return f"postgresql://tester@127.0.0.1:{self.port}/{database}"

    def create(self) -> None:
        """Make the cluster; about two seconds."""
        if self._owner is not None:
            os.chown(self._folder, *self._owner)
        self._folder.chmod(0o755 if self._owner is not None else 0o700)
        self._run("initdb", "-D", str(self._data), "-U", "tester", "-A", "trust", "-N", "-E", "UTF8", "--locale=C")

    def start(self) -> None:
        """Start it, and wait until it answers. It ends with the process that starts it, however that ends."""
        settings = {**SETTINGS, "port": str(self.port), "unix_socket_directories": str(self._folder)}
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        command = [str(self._programs / "postgres"), "-D", str(self._data), *options]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                mortal(command, ending=signal.SIGQUIT, owner=self._owner or (0, 0)),
                cwd=self._folder,
                env=ENVIRONMENT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        end = time.monotonic() + PATIENCE
        while not self._is_ready():
            assert self._process.poll() is None, f"postgres ended: {(self._folder / 'log').read_text(errors='replace')[-400:]}"
            assert time.monotonic() < end, "postgres does not answer"
            time.sleep(0.005)

    def _is_ready(self) -> bool:
        """Whether it says so in the file that it keeps for ``pg_ctl``: its own process, and its state in the eighth line."""
        try:
            lines = (self._data / "postmaster.pid").read_text().splitlines()
        except OSError:
            return False
        return self._process is not None and len(lines) > 7 and [str(self._process.pid), "ready"] == [lines[0], lines[7].strip()]

    def stop(self, mode: str = "immediate") -> None:
        """Stop it, if it runs; "immediate" is as a crash."""
        if self._process is not None:
            self._process.send_signal(ENDINGS[mode])
            try:
                self._process.wait(PATIENCE)
            finally:
                self._process.kill()
                self._process.wait()
                self._process = None

    def database(self, *, tables: bool = False) -> str:
        """The address of a new database: an empty one, or one with the empty tables of a ledger, made once and copied."""
        psycopg = pytest.importorskip("psycopg", reason="the extra 'postgres' is not installed")
        if tables and not self._tables:
            url = self.database()
            open_ledger(url).close()
            self._tables = url.rpartition("/")[2]
        name = f"ledger_{uuid4().hex[:12]}"
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}" + (f" TEMPLATE {self._tables}" if tables else ""))
        return self.url_of(name)

    def checkpoint(self) -> None:
        """Write the log out, so that a start after a crash replays only what comes from now on, not all databases of the run."""
        psycopg = pytest.importorskip("psycopg", reason="the extra 'postgres' is not installed")
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute("CHECKPOINT")

    def _run(self, program: str, *words: str) -> None:
        ids = {} if self._owner is None else {"user": self._owner[0], "group": self._owner[1], "extra_groups": []}
        command = [str(self._programs / program), *words]
        done = subprocess.run(
            command, cwd=self._folder, env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, timeout=120, **ids
        )
        assert done.returncode == 0, f"{program}: {done.stderr.decode(errors='replace')[-400:]}"


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A running server; skips where none is installed (Debian and Ubuntu: apt install postgresql)."""
    programs = binaries()
    if programs is None:
        pytest.skip("there is no PostgreSQL on this machine (Debian and Ubuntu: apt install postgresql)")
    folder = Path(tempfile.mkdtemp(prefix="llmdispatcher-pg-"))  # short, and below no folder that another user cannot enter
    server = Postgres(programs, folder)
    try:
        server.create()
        server.start()
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)


class Pooler:
    """PgBouncer in transaction mode, all else its defaults, with ``size`` connections to a server for each database."""

    def __init__(self, program: str, folder: Path, server: Postgres, size: int) -> None:
        self._program = program
        self._folder = folder
        self._server = server
        self._size = size
        self._owner = _somebody()
        self._process: subprocess.Popen[bytes] | None = None
        self.port = quiet_port()

    def start(self) -> None:
        """Start it, and wait until it answers; it ends with the process that starts it."""
        settings = self._folder / "pgbouncer.ini"
        settings.write_text(POOLER.format(server=self._server.port, port=self.port, size=self._size))
        self._folder.chmod(0o755)
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                mortal([self._program, str(settings)], ending=signal.SIGINT, owner=self._owner or (0, 0)),
                env=ENVIRONMENT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        end = time.monotonic() + PATIENCE
        while not self._answers():
            assert self._process.poll() is None, f"pgbouncer ended: {(self._folder / 'log').read_text(errors='replace')[-400:]}"
            assert time.monotonic() < end, "pgbouncer does not answer"
            time.sleep(0.005)

    def _answers(self) -> bool:
        with socket.socket() as tried:
            return tried.connect_ex(("127.0.0.1", self.port)) == 0

    def stop(self) -> None:
        """Stop it, if it runs."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def database(self, *, tables: bool = False) -> str:
        """The address of a new database of the server, behind the pooler."""
        return self._server.database(tables=tables).replace(f":{self._server.port}/", f":{self.port}/")


@pytest.fixture(scope="session")
def pgbouncer(postgres: Postgres) -> Iterator[Pooler]:
    """A running pooler; skips where none is installed (Debian and Ubuntu: apt install pgbouncer)."""
    program = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin")
    if program is None:
        pytest.skip("there is no PgBouncer on this machine (Debian and Ubuntu: apt install pgbouncer)")
    folder = Path(tempfile.mkdtemp(prefix="llmdispatcher-pgbouncer-"))
    pooler = Pooler(program, folder, postgres, size=3)
    try:
        pooler.start()
        yield pooler
    finally:
        pooler.stop()
        shutil.rmtree(folder, ignore_errors=True)
