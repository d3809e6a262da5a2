"""What ``deploy/`` has: the commands are run as there, by nobody with a home that cannot be written; nginx reads its file."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

import pytest
import requests

from llmdispatcher.testing import VendorSimulator

from ..conftest import PATIENCE
from ..orphans import mortal
from .conftest import HELLO
from .processes import Running, environment, free_port, is_ready, run, serving

yaml = pytest.importorskip("yaml", reason="PyYAML is not installed; scripts/test installs it")
pytest.importorskip("granian", reason="granian is not installed; scripts/test installs it")
pytest.importorskip("prometheus_client", reason="prometheus-client is not installed; scripts/test installs it")
ROOT = Path(__file__).parent.parent.parent
DEPLOY = ROOT / "deploy"
NOBODY = 65534


def _documents(name):
    return [one for one in yaml.safe_load_all((DEPLOY / name).read_text()) if one]


def _command():
    """The words of the Dockerfile's CMD."""
    return json.loads(re.search(r"^CMD (\[.*\])$", (DEPLOY / "Dockerfile").read_text(), re.M)[1])


def _served_words():
    """All command lines of the files."""
    services = _documents("compose.yaml")[0]["services"]
    job, gateway = _documents("kubernetes/migrate.yaml")[0], _documents("kubernetes/gateway.yaml")[0]
    containers = [one["spec"]["template"]["spec"]["containers"][0] for one in (job, gateway)]
    return [_command(), services["gateway"]["command"], services["migrate"]["command"], *[one["args"] for one in containers]]


def test_the_extras_of_the_image_are_there():
    """Each that the Dockerfile installs."""
    wanted = re.search(r"'\.\[([^]]*)\]'", (DEPLOY / "Dockerfile").read_text())[1].split(",")
    known = re.findall(r"^(\w+) =$", (ROOT / "setup.cfg").read_text().partition("[options.extras_require]")[2], re.M)
    assert set(wanted) <= set(known)


def test_nothing_runs_as_root_or_writes_to_its_image():
    """In all three kinds of files."""
    dockerfile = (DEPLOY / "Dockerfile").read_text()
    users = re.findall(r"^USER (\S+)$", dockerfile, re.M)
    services = _documents("compose.yaml")[0]["services"]
    pods = [_documents(f"kubernetes/{name}.yaml")[0]["spec"]["template"]["spec"] for name in ("migrate", "gateway")]

    assert users == ["10001"]
    assert dockerfile.index("USER 10001") < dockerfile.index("ENTRYPOINT")
    for name in ("gateway", "migrate"):
        assert (services[name]["read_only"], services[name]["user"], services[name]["cap_drop"]) == (True, "10001", ["ALL"])
    for pod in pods:
        assert (pod["securityContext"]["runAsNonRoot"], pod["securityContext"]["runAsUser"]) == (True, 10001)
        [container] = pod["containers"]
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
        assert {one["name"] for one in container["volumeMounts"]} == {one["name"] for one in pod["volumes"]}


def test_probes_and_grace():
    """A pod has longer to end than its calls to be drained, and its probes ask paths that there are."""
    pod = _documents("kubernetes/gateway.yaml")[0]["spec"]["template"]["spec"]
    [container] = pod["containers"]
    assert pod["terminationGracePeriodSeconds"] > 600 + 5
    paths = {container[kind]["httpGet"]["path"] for kind in ("startupProbe", "readinessProbe", "livenessProbe")}
    assert paths == {"/livez", "/readyz"}
    assert _documents("kubernetes/migrate.yaml")[0]["metadata"]["annotations"]["helm.sh/hook"] == "pre-install,pre-upgrade"


def test_every_option_is_there(tmp_path):
    """Of each command line, with --help behind it."""
    for words in {tuple(words) for words in _served_words()}:
        told = run(tmp_path, *words, "--help")
        assert told.returncode == 0, told.stderr
        options = {word for word in words if word.startswith("--")}
        assert options <= set(re.findall(r"--[a-z-]+", told.stdout)), words


def _interpreter():
    """A Python of this version that nobody may run, and whose packages he may read."""
    name = f"python{sys.version_info.major}.{sys.version_info.minor}"
    for found in (sys.executable, f"/usr/bin/{name}", f"/usr/local/bin/{name}"):
        given = {"user": NOBODY, "group": NOBODY, "extra_groups": [], "capture_output": True, "timeout": 60, "cwd": "/"}
        with contextlib.suppress(OSError):
            tried = subprocess.run([found, "-c", "import granian, psycopg"], check=False, env=_paths(), **given)
            if tried.returncode == 0:
                return found
    pytest.skip("nobody may not run this version of Python, or not read its packages")


def _paths():
    return {"PYTHONPATH": f"{ROOT}{os.pathsep}{sysconfig.get_paths()['purelib']}", "PYTHONDONTWRITEBYTECODE": "1"}


@pytest.fixture
def open_folder():
    """One that everybody may look into, as those of pytest may not be."""
    with tempfile.TemporaryDirectory(prefix="llmdispatcher-") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.mark.skipif(os.name != "posix" or os.getuid() != 0, reason="only root can be somebody else")
def test_the_image_s_command_runs_as_nobody(open_folder, postgres):
    """With PostgreSQL, a home that cannot be written, and the ports of a test; first the migration, as the hook runs it."""
    home, python = open_folder / "home", _interpreter()
    home.mkdir(mode=0o555)
    port, metrics, admin = free_port(), free_port(), "0123456789abcdef" * 4
    with VendorSimulator() as simulator:
        vendor = f'[vendors.openai]\napi_key = "sk"\nbase_url = "{simulator.openai_url}"\n'
        (open_folder / "llmdispatcher.toml").write_text(vendor)
        variables = {
            "LLMDISPATCHER_DATABASE": postgres.database(),
            "LLMDISPATCHER_ADMIN_KEY": admin,
            "LLMDISPATCHER_PUBLIC_URL": "https://gateway.example.com",
            "LLMDISPATCHER_HOME": str(home),
            **_paths(),
        }
        given = {"env": environment(home, **variables), "cwd": open_folder, "user": NOBODY, "group": NOBODY, "extra_groups": []}
        base = [python, "-m", "llmdispatcher"]
        migrated = subprocess.run([*base, "server", "migrate"], capture_output=True, text=True, timeout=120, check=False, **given)
        assert migrated.returncode == 0, migrated.stderr
        changed = {"0.0.0.0": "127.0.0.1", "8080": str(port), "9090": str(metrics)}
        changed["/etc/llmdispatcher/llmdispatcher.toml"] = str(open_folder / "llmdispatcher.toml")
        words = [*base, *[changed.get(word, word) for word in _command()]]
        with (open_folder / "log").open("wb") as log:
            process = subprocess.Popen([python, *mortal(words, ending=signal.SIGTERM)[1:]], stdout=log, stderr=log, **given)
        running = Running(f"http://127.0.0.1:{port}", open_folder, process, admin)
        try:
            running.until(lambda: is_ready(running.url))
            assert running.ask("gpt-4o-mini").status_code == 200
            assert "llmdispatcher_gateway_ready" in requests.get(f"http://127.0.0.1:{metrics}/metrics", timeout=30).text
            process.send_signal(signal.SIGTERM)
            assert process.wait(PATIENCE * 3) in (0, -signal.SIGTERM), running.log
            assert list(home.iterdir()) == []
        finally:
            process.kill()
            process.wait()


@pytest.mark.skipif(shutil.which("nginx") is None, reason="nginx is not installed")
def test_nginx_reads_its_file_and_holds_nothing_back(tmp_path):
    """A stream through it begins while the vendor is still writing, and is whole; the client's address is told by it."""
    listening = free_port()
    path = tmp_path / "llmdispatcher.toml"
    with VendorSimulator(responses=" ".join(["word"] * 30), tokens_per_second=10.0) as simulator:
        path.write_text(
            f'[pools]\nsmart = ["openai:gpt-4o-mini"]\n[vendors.openai]\napi_key = "sk"\nbase_url = "{simulator.openai_url}"\n'
        )
        variables = {"LLMDISPATCHER_TRUSTED_PROXIES": "127.0.0.1", "LLMDISPATCHER_PUBLIC_URL": "https://gateway.example.com"}
        with serving(tmp_path, "waitress", path, **variables) as running:
            written = (DEPLOY / "nginx.conf").read_text().replace("127.0.0.1:8080", running.url.partition("//")[2])
            (tmp_path / "gateway.conf").write_text(written.replace("listen 8443", f"listen 127.0.0.1:{listening}"))
            places = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
            temporary = "\n".join([f"{place}_temp_path {tmp_path}/{place};" for place in places])
            http = f"access_log off; {temporary} include {tmp_path}/gateway.conf;"
            whole = f"pid {tmp_path}/pid; daemon off; events {{}} http {{ {http} }}"
            (tmp_path / "nginx.conf").write_text(whole)
            command = ["nginx", "-c", str(tmp_path / "nginx.conf"), "-e", str(tmp_path / "error"), "-p", str(tmp_path)]
            checked = subprocess.run([*command, "-t"], capture_output=True, text=True, timeout=60, check=False)
            assert checked.returncode == 0, checked.stderr
            proxy = subprocess.Popen(mortal(command, ending=signal.SIGTERM), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            try:
                running.until(lambda: is_ready(f"http://127.0.0.1:{listening}"))
                headers = {"x-api-key": running.key, "Host": "gateway.example.com"}
                body = {**HELLO, "model": "smart", "stream": True}
                asked = {"json": body, "headers": headers, "timeout": 60, "stream": True}
                with requests.post(f"http://127.0.0.1:{listening}/v1/chat/completions", **asked) as answer:
                    lines = answer.iter_lines()
                    assert next(line for line in lines if b'"content":"word' in line)
                    path.write_text(path.read_text().replace("gpt-4o-mini", "gpt-4o"))
                    running.until(lambda: "is reloaded" in running.log)  # takes two looks, while the stream goes on
                    rest = [line for line in lines if line]
                assert rest[-1] == b"data: [DONE]"
            finally:
                proxy.terminate()
                proxy.wait(PATIENCE)


def test_the_examples_in_the_files_are_commands():
    """The comment at the head of the compose file names files that there are."""
    for line in (DEPLOY / "compose.yaml").read_text().splitlines()[:4]:
        for word in shlex.split(line.lstrip("# "), posix=False) if "docker" in line else ():
            assert not word.startswith("deploy/") or (ROOT / word).exists()
