"""``config import-litellm`` and ``configure``: what is written, what is shown, and that it can be taken back."""

from __future__ import annotations

import hashlib
import json
import shutil
import stat
import tomllib
from contextlib import closing
from pathlib import Path

import pytest

from llmdispatcher.cli.commands import configure
from llmdispatcher.server import KeyStore

from ..cases import each

pytest.importorskip("yaml", reason="PyYAML is not installed; scripts/test installs it")
KEY = "llmr_pk_0123456789abcdef"
FILES = {
    "claude": [".claude/settings.json"],
    "codex": [".codex/config.toml"],
    "gemini": [".gemini/.env", ".gemini/settings.json"],
    "opencode": [".config/opencode/opencode.json"],
}
BEFORE = {
    ".claude/settings.json": '{"theme":"dark",  "env": {"X": "1", "ANTHROPIC_MODEL": "old"}}',
    ".codex/config.toml": '# mine\nmodel = "gpt-5"\n\n[model_providers.other]\nname = "o"  # theirs\n',
    ".gemini/.env": "# mine\nexport OTHER='a b'\nGEMINI_API_KEY=old\n",
    ".gemini/settings.json": '{"ui": {"theme": "x"}}\n',
    ".config/opencode/opencode.json": '{"provider": {"mine": {"name": "m"}}}',
}


@pytest.fixture
def home(tmp_path, monkeypatch):
    """The user's home, and a key in the environment."""
    for name in ("CLAUDE_CONFIG_DIR", "CODEX_HOME", "GEMINI_CLI_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("LLMDISPATCHER_KEY", KEY)
    monkeypatch.setattr(configure, "is_gateway", lambda url: not url.endswith(":9"))
    return tmp_path


def _write_before(home):
    for name, content in BEFORE.items():
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_text(content)


def test_where_no_gateway_answers_it_is_told(command, home):
    """The file is written all the same: the gateway may start later."""
    done = command("configure", "claude", "--url", "http://127.0.0.1:9")

    assert (0, True) == (done.code, "no gateway answers at http://127.0.0.1:9 now; start it there" in done.err)
    assert "no gateway answers" not in command("configure", "codex").err


def test_what_answers_is_asked():
    """By its own path for that; nobody listens at port 9."""
    assert not configure.is_gateway("http://127.0.0.1:9")


def test_an_agent_is_pointed_at_the_gateway(command, home):
    """In its own file, of which all else stays; and set back to the last byte."""
    _write_before(home)
    for agent in FILES:
        assert command("configure", agent, "--url", "https://gw.example.com/v1", "-m", "smart", "--yes").code == 0
    claude = json.loads((home / ".claude/settings.json").read_text())
    codex = tomllib.loads((home / ".codex/config.toml").read_text())
    env = (home / ".gemini/.env").read_text().splitlines()
    opencode = json.loads((home / ".config/opencode/opencode.json").read_text())

    assert claude == {
        "theme": "dark",
        "env": {"X": "1", "ANTHROPIC_MODEL": "smart", "ANTHROPIC_BASE_URL": "https://gw.example.com", "ANTHROPIC_AUTH_TOKEN": KEY},
    }
    assert (codex["model"], codex["model_provider"]) == ("smart", "llmdispatcher")
    assert codex["model_providers"]["llmdispatcher"] == {
        "name": "llmdispatcher",
        "base_url": "https://gw.example.com/v1",
        "wire_api": "responses",
        "experimental_bearer_token": KEY,
    }
    assert "# theirs" in (home / ".codex/config.toml").read_text()
    assert env == [
        "# mine",
        "export OTHER='a b'",
        f"GEMINI_API_KEY={KEY}",
        "GOOGLE_GEMINI_BASE_URL=https://gw.example.com",
        "GEMINI_MODEL=smart",
    ]
    assert opencode["provider"]["llmdispatcher"]["options"] == {"baseURL": "https://gw.example.com/v1", "apiKey": KEY}
    assert (opencode["provider"]["mine"], opencode["model"]) == ({"name": "m"}, "llmdispatcher/smart")
    assert {stat.S_IMODE((home / name).stat().st_mode) for names in FILES.values() for name in names} == {0o600}

    for agent in FILES:
        assert command("configure", agent, "--undo").code == 0
    assert {name: (home / name).read_text() for name in BEFORE} == BEFORE
    assert "nothing was changed" in command("configure", "claude", "--undo").err


def test_where_there_was_no_file_there_is_none_again(command, home):
    """And a second time changes nothing."""
    for agent in FILES:
        assert command("configure", agent).code == 0
        assert "asks this gateway already" in command("configure", agent).err
        assert command("configure", agent, "--undo").code == 0
    assert [path for path in home.rglob("*") if path.is_file()] == []


def test_what_was_changed_meanwhile_stays(command, home):
    """When all is set back."""
    path = home / ".claude" / "settings.json"
    _write_before(home)
    command("configure", "claude", "--yes")
    changed = json.loads(path.read_text())
    path.write_text(json.dumps({**changed, "theme": "light"}))
    command("configure", "claude", "--undo")
    assert json.loads(path.read_text()) == {"theme": "light", "env": {"X": "1", "ANTHROPIC_MODEL": "old"}}


def test_nothing_is_changed_unasked(command, home):
    """Neither a file that is there, nor with --dry-run or --print; and no key is shown but by --print."""
    _write_before(home)
    for words in (("claude",), ("claude", "--dry-run"), ("claude", "--dry-run", "--json")):
        result = command("configure", *words)
        assert KEY not in result.out + result.err
        assert "ANTHROPIC_BASE_URL" in result.out + result.err
    assert command("configure", "claude").code == 2
    assert f"export ANTHROPIC_AUTH_TOKEN={KEY}" in command("configure", "claude", "--print").out
    assert "[model_providers.llmdispatcher]" in command("configure", "codex", "--print").out
    assert {name: (home / name).read_text() for name in BEFORE} == BEFORE


@each(
    "content, told",
    [("{ // a comment\n}", "edit it by hand"), ("[1]", "list is no table of settings"), ("\udcff", "edit it by hand")],
)
def test_a_file_that_cannot_be_read(command, home, content, told):
    """Is told, and stays."""
    path = home / ".claude" / "settings.json"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content.encode("utf-8", "surrogateescape"))
    result = command("configure", "claude", "--yes")
    assert (result.code, told in result.err) == (2, True), result.err
    assert path.read_bytes() == content.encode("utf-8", "surrogateescape")


@each("words", [("--url", "gateway"), ("--url", "https://user@host"), ("--key-file", "/nowhere/key")])
def test_what_cannot_be(command, home, words):
    """Is wrong usage."""
    assert command("configure", "claude", *words).code == 2


def test_a_settings_file_that_is_a_link(command, home):
    """Stays one."""
    (home / "dotfiles").mkdir()
    (home / ".claude").mkdir()
    (home / "dotfiles" / "settings.json").write_text("{}")
    (home / ".claude" / "settings.json").symlink_to(home / "dotfiles" / "settings.json")
    command("configure", "claude", "--yes")
    assert (home / ".claude" / "settings.json").is_symlink()
    assert KEY in (home / "dotfiles" / "settings.json").read_text()


def test_a_proxy_of_litellm_is_imported(command, away):
    """The file and the keys; a second time nothing; another file is not overwritten unasked."""
    shutil.copy(Path(__file__).parent.parent / "integrations" / "litellm_proxy.yaml", away / "config.yaml")
    digest = hashlib.sha256(b"sk-old").hexdigest()
    (away / "dump.json").write_text(json.dumps({"VerificationToken": [{"token": digest, "key_alias": "old"}]}))
    words = ("config", "import-litellm", "config.yaml", "--dump", "dump.json", "--database", "keys.db")

    dry = command(*words, "--dry-run")
    assert (dry.code, (away / "llmdispatcher.toml").exists(), (away / "keys.db").exists()) == (0, False, False)
    assert 'model_map = { "smart.any" = "gpt-4o" }' in dry.out
    assert "lit$" not in dry.out

    first = command(*words)
    assert (first.code, "is written" in first.err) == (0, True), first.err
    assert "left: general_settings.unheard_of: there is no such setting here" in first.err
    assert stat.S_IMODE((away / "llmdispatcher.toml").stat().st_mode) == 0o600
    with closing(KeyStore("keys.db")) as store:
        assert store.find("sk-old").label == "old"

    again = json.loads(command(*words, "--json").out)
    assert again["written"] is False
    (away / "llmdispatcher.toml").write_text("timeout = 3\n")
    assert command(*words).code == 2
    assert command(*words, "--force").code == 0
