"""Coding agents and the files in which they keep where to ask: what is set there, and how it is set and taken back.

Formats: code.claude.com/docs/en/settings, developers.openai.com/codex/config-sample, geminicli.com/docs/reference/configuration and
opencode.ai/docs/config (all 2026-11).
"""

from __future__ import annotations

import json
import os
import shlex
import tomllib
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from ..errors import ConfigError
from ..runtime import write_file

NAME = "llmdispatcher"
_ABSENT = object()
Values = Mapping[tuple[str, ...], Any]
"""Settings by their path in a file."""


@attrs.frozen
class AgentAccess:
    """Where an agent is to ask: the address without a path, the key, the models, of which the first is the agent's own."""

    url: str
    key: str = attrs.field(repr=False)
    models: Sequence[str] = ()


@attrs.frozen
class SettingsFile:
    """One file of an agent: ``path``, its format ("json", "toml" or "env"), and what is set in it."""

    path: Path
    format: str
    values: Values = attrs.field(repr=False)

    @property
    def backup(self) -> Path:
        """Where the file is kept as it was before the first change; empty where there was none."""
        return self.path.with_name(f"{self.path.name}.before-{NAME}")

    def changes(self) -> dict[tuple[str, ...], tuple[Any, Any]]:
        """What is to be changed: the values there now (``None``: absent) and those that are to be."""
        content = self._read(self.path)
        now = {path: _at(content, path) for path in self.values}
        return {path: (None if now[path] is _ABSENT else now[path], new) for path, new in self.values.items() if now[path] != new}

    def write(self) -> None:
        """Set the values; all else in the file stays, and only its owner can read it. The first time the file is kept beside it."""
        content = self._read(self.path)
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not self.backup.exists():
            write_file(self.backup, self.path.read_bytes() if self.path.exists() else b"")
        for path, value in self.values.items():
            _put(content, path, value)
        write_file(_real(self.path), _FORMATS[self.format][1](content).encode())

    def undo(self) -> bool:
        """Give the values back that were there before; what else was changed meanwhile stays. False where nothing was changed."""
        if not self.backup.exists():
            return False
        before, content = self._read(self.backup), self._read(self.path)
        for path in self.values:
            _put(content, path, _at(before, path))
        if content == before and self.backup.stat().st_size:
            write_file(_real(self.path), self.backup.read_bytes())  # its blanks and comments, too
        elif content or self.backup.stat().st_size:
            write_file(_real(self.path), _FORMATS[self.format][1](content).encode())
        else:
            self.path.unlink(missing_ok=True)
        self.backup.unlink()
        return True

    def _read(self, path: Path) -> MutableMapping[str, Any]:
        try:
            text = path.read_text(encoding="utf-8") if path.exists() else ""
            content: Any = _FORMATS[self.format][0](text)
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or f"cannot be read: {error}"
            raise ConfigError(f"{path}: {why}; edit it by hand, with what --print shows") from None
        if not isinstance(content, MutableMapping):
            raise ConfigError(f"{path}: {type(content).__name__} is no table of settings; edit it by hand, with what --print shows")
        return content


def _real(path: Path) -> Path:
    """The file itself, where the path is a link to it, as those who keep their settings in a repository have it."""
    return path.resolve() if path.is_symlink() else path


def _at(content: Any, path: Sequence[str]) -> Any:
    for part in path:
        if not isinstance(content, Mapping) or part not in content:
            return _ABSENT
        content = content[part]
    return content


def _put(content: MutableMapping[str, Any], path: Sequence[str], value: Any) -> None:
    """Set a value, or take it away, and tables that are empty then."""
    above: list[tuple[MutableMapping[str, Any], str]] = []
    for part in path[:-1]:
        if not isinstance(content.get(part), MutableMapping):
            if value is _ABSENT:
                return
            content[part] = {}
        above.append((content, part))
        content = content[part]
    if value is not _ABSENT:
        content[path[-1]] = value
        return
    content.pop(path[-1], None)
    for table, part in reversed(above):
        if not table[part]:
            del table[part]


def _read_toml(text: str) -> Any:
    try:
        import tomlkit
    except ModuleNotFoundError:
        if text.strip():
            raise ConfigError("tomlkit is not installed; pip install 'llmdispatcher[lockfile]', or use --print") from None
        return {}
    tomllib.loads(text)  # whose errors are ValueErrors
    return tomlkit.parse(text)


def _write_toml(content: Any) -> str:
    if hasattr(content, "as_string"):
        text: str = content.as_string()
        return text
    return "".join(_toml_table(content, ()))


def _toml_table(table: Mapping[str, Any], path: Sequence[str]) -> list[str]:
    plain = [f"{key} = {json.dumps(value)}\n" for key, value in table.items() if not isinstance(value, Mapping)]
    inner = [line for key, value in table.items() if isinstance(value, Mapping) for line in _toml_table(value, (*path, key))]
    return [*([f"\n[{'.'.join(path)}]\n"] if path and plain else []), *plain, *inner]


class _EnvFile(dict[str, Any]):
    """The variables of a file of ``NAME=value`` lines, whose other lines stay where they are."""

    lines: Sequence[str] = ()


def _read_env(text: str) -> _EnvFile:
    made = _EnvFile()
    made.lines = text.splitlines()
    for line in made.lines:
        name, mark, value = line.removeprefix("export ").partition("=")
        if mark and not name.lstrip().startswith("#"):
            made[name.strip()] = value.strip().strip("\"'")
    return made


def _write_env(content: Any) -> str:
    left, lines = dict(content), []
    for line in content.lines:
        name = line.removeprefix("export ").partition("=")[0].strip()
        if "=" not in line or name.startswith("#"):
            lines.append(line)
        elif name in left:
            same = _read_env(line).get(name) == left[name]
            lines.append(line if same else f"{name}={left[name]}")
            del left[name]
    return "".join([f"{line}\n" for line in [*lines, *(f"{name}={value}" for name, value in left.items())]])


_FORMATS: Mapping[str, tuple[Callable[[str], Any], Callable[[Any], str]]] = {
    "json": (lambda text: json.loads(text) if text.strip() else {}, lambda content: json.dumps(content, indent=2) + "\n"),
    "toml": (_read_toml, _write_toml),
    "env": (_read_env, _write_env),
}


def _home(environment: Mapping[str, str], variable: str, *below: str) -> Path:
    """The folder that a variable names, else one in the user's home."""
    named = environment.get(variable)
    return Path(named).expanduser() if named else Path.home().joinpath(*below)


def _claude(gateway: AgentAccess, environment: Mapping[str, str]) -> list[SettingsFile]:
    values: dict[tuple[str, ...], Any] = {("env", name): value for name, value in claude_variables(gateway).items()}
    return [SettingsFile(_home(environment, "CLAUDE_CONFIG_DIR", ".claude") / "settings.json", "json", values)]


def claude_variables(gateway: AgentAccess) -> dict[str, str]:
    """The variables of Claude Code."""
    model = {"ANTHROPIC_MODEL": gateway.models[0]} if gateway.models else {}
    return {"ANTHROPIC_BASE_URL": gateway.url, "ANTHROPIC_AUTH_TOKEN": gateway.key, **model}


def _codex(gateway: AgentAccess, environment: Mapping[str, str]) -> list[SettingsFile]:
    provider = ("model_providers", NAME)
    values: dict[tuple[str, ...], Any] = {("model",): gateway.models[0]} if gateway.models else {}
    values |= {
        ("model_provider",): NAME,
        (*provider, "name"): NAME,
        (*provider, "base_url"): f"{gateway.url}/v1",
        (*provider, "wire_api"): "responses",
        (*provider, "experimental_bearer_token"): gateway.key,
    }
    return [SettingsFile(_home(environment, "CODEX_HOME", ".codex") / "config.toml", "toml", values)]


def gemini_variables(gateway: AgentAccess) -> dict[str, str]:
    """The variables of the Gemini CLI."""
    model = {"GEMINI_MODEL": gateway.models[0]} if gateway.models else {}
    return {"GOOGLE_GEMINI_BASE_URL": gateway.url, "GEMINI_API_KEY": gateway.key, **model}


def _gemini(gateway: AgentAccess, environment: Mapping[str, str]) -> list[SettingsFile]:
    folder = _home(environment, "GEMINI_CLI_HOME") / ".gemini"
    variables: dict[tuple[str, ...], Any] = {(name,): value for name, value in gemini_variables(gateway).items()}
    return [
        SettingsFile(folder / ".env", "env", variables),
        SettingsFile(folder / "settings.json", "json", {("security", "auth", "selectedType"): "gemini-api-key"}),
    ]


def _opencode(gateway: AgentAccess, environment: Mapping[str, str]) -> list[SettingsFile]:
    models = gateway.models or ("auto",)
    provider = ("provider", NAME)
    values: dict[tuple[str, ...], Any] = {
        ("$schema",): "https://opencode.ai/config.json",
        ("model",): f"{NAME}/{models[0]}",
        (*provider, "npm"): "@ai-sdk/openai-compatible",
        (*provider, "name"): NAME,
        (*provider, "options", "baseURL"): f"{gateway.url}/v1",
        (*provider, "options", "apiKey"): gateway.key,
        (*provider, "models"): {model: {"name": model} for model in models},
    }
    return [SettingsFile(_home(environment, "XDG_CONFIG_HOME", ".config") / "opencode" / "opencode.json", "json", values)]


AGENTS: Mapping[str, Callable[[AgentAccess, Mapping[str, str]], list[SettingsFile]]] = {
    "claude": _claude,
    "codex": _codex,
    "gemini": _gemini,
    "opencode": _opencode,
}


def files_of(agent: str, gateway: AgentAccess) -> list[SettingsFile]:
    """The files of an agent, with what is to be set in them."""
    return AGENTS[agent](gateway, os.environ)


def lines_of(agent: str, gateway: AgentAccess) -> list[str]:
    """What somebody who edits by hand needs: lines of a shell where the agent reads variables, else of its file."""
    variables = {"claude": claude_variables, "gemini": gemini_variables}.get(agent)
    if variables is not None:
        return [f"export {name}={shlex.quote(value)}" for name, value in variables(gateway).items()]
    [file] = files_of(agent, gateway)
    content: dict[str, Any] = {}
    for path, value in file.values.items():
        _put(content, path, value)
    return [f"# {file.path}", *(_write_toml(content) if file.format == "toml" else json.dumps(content, indent=2)).splitlines()]
