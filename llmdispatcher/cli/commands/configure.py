"""``configure``: point a coding agent at the gateway."""

from __future__ import annotations

import json
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import click

from ...errors import ConfigError, DispatchError
from ...runtime import Deadline, from_environment
from ...transport import Transport
from ...types import HttpCall
from ..agents import AGENTS, AgentAccess, SettingsFile, files_of, lines_of
from ..options import FILE, OneOf, make_command
from ..settings import Settings
from ..terminal import OK, UsageError, complain, is_typed, say, tell, tell_json

_KEY = "LLMDISPATCHER_KEY"


@make_command(
    "configure",
    examples=(
        "llmdispatcher configure claude --url https://gateway.example.com",
        "llmdispatcher configure opencode --model smart --model gpt-4o-mini --dry-run",
        "llmdispatcher configure codex --undo",
    ),
)
@click.argument("agent", type=OneOf(list(AGENTS)), metavar="AGENT", help=f"One of {', '.join(AGENTS)}.")
@click.option("--url", default="http://127.0.0.1:8080", show_default=True, metavar="URL", help="The gateway's address.")
@click.option("-m", "--model", "models", multiple=True, metavar="MODEL", help="What the agent asks for; may be repeated.")
@click.option("--key-file", type=FILE, metavar="FILE", help=f"Where the key stands; else ${_KEY}, else it is asked for.")
@click.option("--dry-run", is_flag=True, help="Show what would be changed; change nothing.")
@click.option("--print", "printed", is_flag=True, help="Print the lines for a shell, or for the agent's file; change nothing.")
@click.option("--undo", is_flag=True, help="Set everything back to how it was.")
@click.option("--force", "--yes", "-y", "force", is_flag=True, help="Change a file without asking.")
def command(settings: Settings, agent: str, **given: Any) -> int:
    """Point a coding agent at the gateway: claude, codex, gemini or opencode.

    The address, the key and the model are set in the agent's own file, which is kept as it was beside it (--undo). All else in it
    stays. The key is never an argument, and only the file's owner can read it there.
    """
    try:
        if given["undo"]:
            return _undo(settings, files_of(agent, AgentAccess("", "", given["models"] or ("",))))
        gateway = AgentAccess(_address(given["url"]), _key(given["key_file"], ask=not given["dry_run"]), given["models"])
        if given["printed"]:
            tell(*lines_of(agent, gateway))
            return OK
        return _set(settings, agent, gateway, dry_run=given["dry_run"], force=given["force"])
    except ConfigError as error:
        raise UsageError(error.message) from None


def _set(settings: Settings, agent: str, gateway: AgentAccess, *, dry_run: bool, force: bool) -> int:
    changes = [(file, changed) for file in files_of(agent, gateway) if (changed := file.changes())]
    records = [
        {"file": str(file.path), "setting": ".".join(path), "from": _shown(path, old), "to": _shown(path, new)}
        for file, changed in changes
        for path, (old, new) in changed.items()
    ]
    if settings.json:
        tell_json({"agent": agent, "changes": records, "written": bool(changes) and not dry_run})
    else:
        for one in records:
            say(f"{one['file']}: {one['setting']}: {one['from'] or 'not set'} -> {one['to']}")
    if not changes:
        say(f"{agent} asks this gateway already")
        return OK
    if dry_run:
        return OK
    overwritten = any(file.path.exists() for file, _changed in changes)
    if overwritten and not force:
        if not is_typed():
            raise UsageError("the file is there; --yes changes it, --dry-run shows how")
        if not click.confirm("Change it?", err=True):
            return OK
    for file, _changed in changes:
        file.write()
    say(f"{agent} asks {gateway.url} now; `llmdispatcher configure {agent} --undo` sets it back")
    if not is_gateway(gateway.url):
        complain(f"no gateway answers at {gateway.url} now; start it there (`llmdispatcher serve`), or give another --url")
    return OK


def is_gateway(url: str) -> bool:
    """Whether something answers as a gateway does, within three seconds."""
    call = HttpCall(method="GET", url=f"{url}/livez", headers={})
    try:
        with closing(Transport(url, pool_size=1)) as transport, closing(transport.open(call, Deadline.after(3.0))) as reply:
            return reply.status == 200
    except (DispatchError, ConfigError):
        return False


def _undo(settings: Settings, files: list[SettingsFile]) -> int:
    done = [str(file.path) for file in files if file.undo()]
    if settings.json:
        tell_json({"restored": done})
    for path in done:
        say(f"{path} is as it was")
    if not done:
        say("nothing was changed here")
    return OK


def _shown(path: tuple[str, ...], value: Any) -> str | None:
    """A value for people; a key by its ends, whoever's it is."""
    if value is None:
        return None
    text = value if isinstance(value, str) else json.dumps(value)
    is_key = any(word in path[-1].lower() for word in ("key", "token"))
    return (f"{text[:4]}...{text[-4:]}" if len(text) >= 16 else "...") if is_key else text


def _address(url: str) -> str:
    """The address without a path, which each agent adds itself."""
    stripped = url.strip().rstrip("/").removesuffix("/v1")
    if not stripped.startswith(("http://", "https://")) or any(map(str.isspace, stripped)) or "@" in stripped:
        raise UsageError(f"--url: {url!r} is no address; give one such as https://gateway.example.com")
    return stripped


def _key(path: Path | None, *, ask: bool) -> str:
    if path is not None:
        try:
            key = path.read_text(encoding="utf-8").strip()
        except (OSError, ValueError) as error:
            raise UsageError(f"{path}: {getattr(error, 'strerror', None) or 'not UTF-8'}") from None
    elif (found := from_environment((_KEY,))) is not None:
        key = found
    elif is_typed() and ask:
        key = click.prompt("Key of the gateway", hide_input=True, err=True).strip()
    else:
        key = "" if ask else "<key>"
        if ask and sys.stdin is not None and not is_typed():
            key = sys.stdin.readline().strip()
    if not key or not key.isascii() or not key.isprintable() or " " in key:
        raise UsageError(f"there is no key, or it is none; give --key-file FILE, set {_KEY}, or type it")
    return key
