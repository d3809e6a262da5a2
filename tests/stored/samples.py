"""What the samples of version 0.1.0 were written with, for those who read them: places, requests, budgets, clocks."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import keyring.backend

from llmdispatcher import Budget, Dispatcher, Message, OpenAIVendor, Registry, Request, Tool, image
from llmdispatcher.testing import ManualClock

SAMPLES = Path(__file__).parent / "v0_1_0"
CACHED_AT = 18_765
"""The port of the vendor whose answers are in the caches; nobody is asked there any more."""
REGISTRY_AT = 18_766
"""The port of the registry whose documents are on the shelf."""
KEY = "sk-0123456789abcdef"
PIXEL = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
LONG = 10**9
"""Seconds that a sample of an answer is good for."""
PROMPTS = 4

CACHED = {
    "a question": Request("gpt-4o", "Why is the sky blue?", temperature=0, max_tokens=100, cache=True),
    "pictures, tools, a form": Request(
        "gpt-4o",
        [Message("system", "Be brief."), Message("user", [image(PIXEL)])],
        tools=[
            Tool(name="weather", description="Outside.", parameters={"type": "object", "properties": {"at": {"type": "string"}}})
        ],
        seed=7,
        stop=["END"],
        extra_params={"store": False, "metadata": {"b": 1, "a": [1.0, None]}},
        cache=True,
    ),
}
"""Requests whose answers are in the caches."""


def sample(name: str, folder: Path) -> Path:
    """A copy of a sample, to be opened by its owner alone, as the library makes such files."""
    source, copy = SAMPLES / name, folder / Path(name).name
    if source.is_dir():
        shutil.copytree(source, copy)
    else:
        shutil.copyfile(source, copy)
    for path in [copy, *copy.rglob("*")]:
        path.chmod(0o700 if path.is_dir() else 0o600)
    return copy


def expected(name: str) -> Any:
    """What version 0.1.0 said of its own samples."""
    return json.loads((SAMPLES / "expected.json").read_text(encoding="utf-8"))[name]


def budgets() -> list[Budget]:
    """Those of the ledger's sample: for ever, by day and user, by month and vendor, by call."""
    return [
        Budget(limit="5.00", period="total", name="all", unpriced="allow"),
        Budget(limit="1.00", period="day", per="user", name="each", unpriced="allow"),
        Budget(limit="3.00", period="month", per="vendor", name="vendors", zone="Europe/Berlin", unpriced="allow"),
        Budget(limit="0.50", period="call", name="one", unpriced="allow"),
    ]


def spending(ledger: Any, clock: ManualClock | None = None) -> Dispatcher:
    """A dispatcher that keeps these budgets in a ledger, on a clock that stands where it stood then."""
    return Dispatcher(
        {"budgets": budgets(), "retry_policy": {"max_retries": 1, "initial_delay": 0}}, ledger=ledger, clock=clock or ManualClock()
    )


def remembering(store: str) -> Dispatcher:
    """A dispatcher with a cache, and the vendor whose answers are in it."""
    made = Dispatcher({"cache": {"store": store, "ttl": LONG, "store_timeout": 10}}, clock=ManualClock())
    made.register_vendor(OpenAIVendor(api_key=KEY, base_url=f"http://127.0.0.1:{CACHED_AT}/v1", trust_env=False))
    return made


def shelved(folder: Path, **settings: Any) -> Registry:
    """The registry whose documents are on the shelf."""
    return Registry(f"http://127.0.0.1:{REGISTRY_AT}", cache_dir=folder, ttl=LONG, clock=ManualClock(), **settings)


def found(ledger: Any) -> dict[str, Any]:
    """All that can be asked of the ledger's sample, as JSON."""
    calls = ledger.list_recent_calls(limit=1000)
    stats = ledger.get_usage_stats(start="2025-01-01", end="2030-12-31", group_by="month", by="model")
    told = {
        "calls": [call.as_dict() for call in calls],
        "attempts": [attempt.as_dict() for call in calls for attempt in ledger.get_attempts(call.id)],
        "usage": stats.as_dict(),
    }
    return json.loads(json.dumps(told, default=str))


class Keychain(keyring.backend.KeyringBackend):
    """A keychain in memory."""

    priority = 1

    def __init__(self) -> None:
        super().__init__()
        self.kept: dict[tuple[str, str], str] = {}

    def get_password(self, service: str, username: str) -> str | None:
        """What is kept."""
        return self.kept.get((service, username))

    def set_password(self, service: str, username: str, password: str) -> None:
        """Keep it."""
        self.kept[service, username] = password

    def delete_password(self, service: str, username: str) -> None:
        """Forget it."""
        del self.kept[service, username]
