"""The vendors as rows: where they live, what they speak, how a key is shown, which names their models bear.

Addresses and headers: the vendors' API references, as of 2026-11; see the ``source`` of each row.
"""

from __future__ import annotations

from fnmatch import fnmatchcase

import attrs


@attrs.frozen(kw_only=True)
class VendorRow:
    """One vendor of the catalog.

    ``codec`` names a wire format, ``key_header`` carries ``key_prefix`` + key, ``key_env``, ``url_env`` and ``version_env`` are
    environment variables in order of preference, ``families`` are globs of model names that belong to it.
    """

    name: str
    codec: str
    base_url: str | None
    key_header: str
    key_prefix: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    key_env: tuple[str, ...] = ()
    url_env: tuple[str, ...] = ()
    version_env: tuple[str, ...] = ()
    families: tuple[str, ...] = ()
    source: str
    date: str


_OPENAI_FAMILIES = ("gpt-*", "chatgpt-*", "o1*", "o3*", "o4*", "chat-latest", "computer-use-*", "text-embedding-*", "ft:gpt-*")

ROWS: tuple[VendorRow, ...] = (
    VendorRow(
        name="openai",
        codec="openai_chat",
        base_url="https://api.openai.com/v1",
        key_header="Authorization",
        key_prefix="Bearer ",
        key_env=("OPENAI_API_KEY",),
        url_env=("OPENAI_BASE_URL",),
        families=_OPENAI_FAMILIES,
        source="https://platform.openai.com/docs/api-reference/chat",
        date="2026-11-01",
    ),
    VendorRow(
        name="anthropic",
        codec="anthropic_messages",
        base_url="https://api.anthropic.com",
        key_header="x-api-key",
        # The newer 2026-10-21 rejects sampling parameters outright; this one keeps working for every model.
        headers=(("anthropic-version", "2023-06-01"),),
        key_env=("ANTHROPIC_API_KEY",),
        url_env=("ANTHROPIC_BASE_URL",),
        families=("claude-*",),
        source="https://platform.claude.com/docs/en/api/versioning",
        date="2026-11-01",
    ),
    VendorRow(
        name="google",
        codec="gemini",
        base_url="https://generativelanguage.googleapis.com/v1",
        key_header="x-goog-api-key",
        key_env=("GEMINI_API_KEY", "GOOGLE_API_KEY", "GOOGLE_GEMINI_API_KEY"),
        url_env=("GEMINI_BASE_URL", "GOOGLE_GEMINI_BASE_URL", "GOOGLE_BASE_URL"),
        families=("gemini-*", "gemma-*", "learnlm-*", "models/gemini-*"),
        source="https://ai.google.dev/api/generate-content",
        date="2026-11-01",
    ),
    VendorRow(
        name="azure",
        codec="openai_chat",
        base_url=None,
        key_header="api-key",
        key_env=("AZURE_OPENAI_API_KEY",),
        url_env=("AZURE_OPENAI_ENDPOINT",),
        version_env=("AZURE_OPENAI_API_VERSION", "OPENAI_API_VERSION"),
        families=(*_OPENAI_FAMILIES, "gpt-35-*"),
        source="https://learn.microsoft.com/azure/ai-foundry/openai/api-version-lifecycle",
        date="2026-11-01",
    ),
)

_ALIASES = {"azure-openai": "azure", "gemini": "google"}
_BY_NAME = {row.name: row for row in ROWS}


def canonical(name: str) -> str:
    """A vendor's one name: lower case, without blanks, "azure-openai" and "azure" being the same."""
    name = name.strip().lower()
    return _ALIASES.get(name, name)


def vendor_row(name: str) -> VendorRow | None:
    """The row of a vendor by its name or alias."""
    return _BY_NAME.get(canonical(name))


def vendor_rows() -> tuple[VendorRow, ...]:
    """All rows, in the order in which a bare model name is placed."""
    return ROWS


def in_family(kind: str, model: str) -> bool:
    """Whether the model's name is of this vendor's families."""
    row = vendor_row(kind)
    return row is not None and any(fnmatchcase(model, family) for family in row.families)
