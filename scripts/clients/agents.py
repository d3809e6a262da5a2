"""The agents: how each is told of the gateway, and how it is given one prompt of a session."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import attrs

from .service import clean_environment


@attrs.frozen
class Place:
    """Where a client works: its folder with the files, its home, and the gateway."""

    folder: Path
    home: Path
    url: str
    key: str = attrs.field(repr=False)
    model: str


class Agent:
    """One agent from npm; each prompt is a process of its own that goes on with the session."""

    name: ClassVar[str]
    package: ClassVar[str]
    command: ClassVar[str]
    asks: ClassVar[str]
    """The path that it asks at the gateway."""
    full_after: ClassVar[str] = ""
    """The step after which the usage tells of a full window, for agents that sum up by that and not by an error."""
    lacks: ClassVar[Mapping[str, str]] = {}
    """Steps that it has no way to do, and why."""

    def configure(self, place: Place, step: str = "") -> None:
        """Write its files of settings, those of a step where it needs others there."""

    def words(self, place: Place, prompt: str, *, first: bool) -> list[str]:
        """The arguments of one prompt."""
        raise NotImplementedError

    def environment(self, place: Place) -> dict[str, str]:
        """The variables of its process."""
        return clean_environment(place.home)

    def compact(self, place: Place) -> list[str] | None:
        """The arguments that make it sum the session up, where it does not by itself."""
        return None


class ClaudeCode(Agent):
    """Anthropic's."""

    name = "Claude Code"
    package = "@anthropic-ai/claude-code"
    command = "claude"
    asks = "/v1/messages"

    def words(self, place: Place, prompt: str, *, first: bool) -> list[str]:
        words = ["-p", prompt, "--output-format", "json", "--max-turns", "12", "--allowedTools", "Read,Edit,Write,Bash"]
        return words if first else [*words, "--continue"]

    def compact(self, place: Place) -> list[str]:
        return ["-p", "/compact", "--output-format", "json", "--continue"]

    def environment(self, place: Place) -> dict[str, str]:
        told = {
            "ANTHROPIC_BASE_URL": place.url,
            "ANTHROPIC_AUTH_TOKEN": place.key,
            "ANTHROPIC_MODEL": place.model,
            "ANTHROPIC_SMALL_FAST_MODEL": place.model,
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
            "DISABLE_TELEMETRY": "1",
            "DISABLE_AUTOUPDATER": "1",
        }
        return super().environment(place) | told


class Codex(Agent):
    """OpenAI's."""

    name = "Codex CLI"
    package = "@openai/codex"
    command = "codex"
    asks = "/v1/responses"
    full_after = "limit"

    def configure(self, place: Place, step: str = "") -> None:
        folder = place.home / ".codex"
        folder.mkdir(exist_ok=True)
        settings = {
            "model": place.model,
            "model_provider": "ours",
            "approval_policy": "never",
            "sandbox_mode": "danger-full-access",
            "model_auto_compact_token_limit": 150_000,
            "model_context_window": 200_000,
            "check_for_update_on_startup": False,
        }
        lines = [f"{name} = {json.dumps(value)}" for name, value in settings.items()]
        provider = {"name": "ours", "base_url": f"{place.url}/v1", "wire_api": "responses", "env_key": "GATEWAY_KEY"}
        lines += ["[model_providers.ours]", *[f"{name} = {json.dumps(value)}" for name, value in provider.items()]]
        (folder / "config.toml").write_text("\n".join(lines) + "\n")

    def words(self, place: Place, prompt: str, *, first: bool) -> list[str]:
        words = ["exec", "--skip-git-repo-check", "--json"]
        return [*words, prompt] if first else [*words, "resume", "--last", prompt]

    def environment(self, place: Place) -> dict[str, str]:
        return super().environment(place) | {"GATEWAY_KEY": place.key, "CODEX_HOME": str(place.home / ".codex")}


class GeminiCli(Agent):
    """Google's."""

    name = "Gemini CLI"
    package = "@google/gemini-cli"
    command = "gemini"
    asks = "/v1beta/models"

    def configure(self, place: Place, step: str = "") -> None:
        folder = place.home / ".gemini"
        folder.mkdir(exist_ok=True)
        settings = {
            "security": {"auth": {"selectedType": "gemini-api-key"}},
            "privacy": {"usageStatisticsEnabled": False},
            "telemetry": {"enabled": False},
            "modelConfigs": {"customAliases": {"chat-compression-default": {"modelConfig": {"model": place.model}}}},
            "model": {"compressionThreshold": 0.0001 if step == "overflow" else 0.9},
            "general": {"disableAutoUpdate": True, "disableUpdateNag": True, "enableAutoUpdate": False},
        }
        (folder / "settings.json").write_text(json.dumps(settings))

    def words(self, place: Place, prompt: str, *, first: bool) -> list[str]:
        words = ["-p", prompt, "-m", place.model, "--skip-trust", "--approval-mode", "yolo", "-o", "json"]
        return words if first else [*words, "--resume", "latest"]

    def environment(self, place: Place) -> dict[str, str]:
        return super().environment(place) | {"GEMINI_API_KEY": place.key, "GOOGLE_GEMINI_BASE_URL": place.url}


class OpenCode(Agent):
    """SST's, with Vercel's ai inside."""

    name = "opencode"
    package = "opencode-ai"
    command = "opencode"
    asks = "/v1/chat/completions"

    def configure(self, place: Place, step: str = "") -> None:
        model = {
            "name": "ours",
            "limit": {"context": 200_000, "output": 8_000},
            "attachment": True,
            "reasoning": True,
            "tool_call": True,
        }
        model |= {"modalities": {"input": ["text", "image"], "output": ["text"]}}
        provider = {
            "npm": "@ai-sdk/openai-compatible",
            "options": {"baseURL": f"{place.url}/v1", "apiKey": place.key},
            "models": {place.model: model},
        }
        settings = {"provider": {"ours": provider}, "autoupdate": False, "share": "disabled", "permission": {"*": "allow"}}
        (place.folder / "opencode.json").write_text(json.dumps(settings))

    def words(self, place: Place, prompt: str, *, first: bool) -> list[str]:
        words = ["run", "-m", f"ours/{place.model}", prompt]
        return words if first else [*words, "--continue"]

    def environment(self, place: Place) -> dict[str, str]:
        off = ("MODELS_FETCH", "AUTOUPDATE", "LSP_DOWNLOAD", "DEFAULT_PLUGINS", "SHARE")
        return super().environment(place) | {f"OPENCODE_DISABLE_{what}": "1" for what in off}


AGENTS: Mapping[str, Agent] = {"claude": ClaudeCode(), "codex": Codex(), "gemini": GeminiCli(), "opencode": OpenCode()}
