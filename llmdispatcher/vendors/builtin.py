"""The vendors of the catalog by name, and those that the environment has the keys of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Unpack

from ..catalog import VendorRow, vendor_rows
from ..runtime import from_environment as value_from_environment
from .config import VendorConfig, VendorSettings
from .credentials import misspelt_variables
from .http import HttpVendor


class OpenAIVendor(HttpVendor):
    """OpenAI; the key comes from ``OPENAI_API_KEY`` unless given."""

    default_kind = "openai"


class AnthropicVendor(HttpVendor):
    """Anthropic; the key comes from ``ANTHROPIC_API_KEY`` unless given."""

    default_kind = "anthropic"


class GoogleVendor(HttpVendor):
    """Google's Gemini API; the key comes from ``GEMINI_API_KEY`` or ``GOOGLE_API_KEY`` unless given."""

    default_kind = "google"


class AzureOpenAIVendor(HttpVendor):
    """Azure OpenAI; key and address come from ``AZURE_OPENAI_API_KEY`` and ``AZURE_OPENAI_ENDPOINT`` unless given.

    A model's name is a deployment's name. With ``api_version`` (or ``AZURE_OPENAI_API_VERSION``) the classic addresses
    are used, else v1.
    """

    default_kind = "azure"


class OllamaVendor(HttpVendor):
    """An Ollama server, by default the one on this machine; it needs no key."""

    default_kind = "ollama"


class HuggingFaceVendor(HttpVendor):
    """Hugging Face's router; the key comes from ``HF_TOKEN`` unless given. Models are ``org/name`` or ``org/name:provider``."""

    default_kind = "huggingface"


class OpenAICompatibleVendor(HttpVendor):
    """Any server that speaks OpenAI's format: give ``base_url``, and a ``name`` of your own; a key only if it wants one."""

    default_kind = "local"


def vendor(kind: str, config: VendorConfig | Mapping[str, Any] | None = None, **settings: Unpack[VendorSettings]) -> HttpVendor:
    """The catalog's vendor of that name: ``vendor("anthropic", api_key="...")``."""
    return HttpVendor(config, kind=kind, **settings)


def from_environment() -> list[HttpVendor]:
    """Every vendor of the catalog whose key, and address where it has none of its own, is in the environment."""
    return [made for row in _rows_in_environment() if (made := HttpVendor(kind=row.name)).is_available()]


_USUAL = "OPENAI_API_KEY, ANTHROPIC_API_KEY, GEMINI_API_KEY or OLLAMA_HOST"


def nothing_found() -> str:
    """What to say where :func:`from_environment` has found no vendor: what is missing of one that is there in part, else keys."""
    halves = [f"{name}: {lack}" for name, lack in incomplete().items()]
    usual = (
        f"set {_USUAL} (docs/vendors.md has the variables of all vendors), or call dispatcher.register_vendor(OpenAIVendor(...))"
    )
    return f"Dispatcher.from_env() found no vendor in the environment; {'; '.join(halves or [*misspelt_variables(), usual])}"


def incomplete() -> dict[str, str]:
    """The vendors of the catalog of whom the environment has a part, and what it lacks."""
    lacks = {row.name: HttpVendor(kind=row.name).missing() for row in _rows_in_environment()}
    return {name: lack for name, lack in lacks.items() if lack is not None}


def how_to_register(row: VendorRow) -> str:
    """What to do to have a vendor of the catalog: the variables of the environment, and the class."""
    named = next((made.__name__ for made in _CLASSES if made.default_kind == row.name), None)
    settings = "" if row.keyless else "api_key=..." if row.base_url is not None else "api_key=..., base_url=..."
    made = f"{named}({settings})" if named is not None else f"vendor({', '.join(filter(None, (repr(row.name), settings)))})"
    lack = HttpVendor(kind=row.name).missing() if row in _rows_in_environment() else None
    todo = f"set {' or '.join(_variables(row))}" if lack is None else f"the environment has {lack}"
    return f"{todo} and use Dispatcher.from_env(), or call dispatcher.register_vendor({made})"


_CLASSES = (OpenAIVendor, AnthropicVendor, GoogleVendor, AzureOpenAIVendor, OllamaVendor, HuggingFaceVendor, OpenAICompatibleVendor)


def _variables(row: VendorRow) -> tuple[str, ...]:
    """The variables of which one must be set for a vendor to be registered from the environment."""
    return row.url_env if row.keyless else row.key_env


def _rows_in_environment() -> list[VendorRow]:
    return [row for row in vendor_rows() if value_from_environment(_variables(row)) is not None]
