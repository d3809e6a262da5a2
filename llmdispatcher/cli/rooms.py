"""Which commands there are, where each lives, and what it is for: all that ``--help`` needs to know."""

from __future__ import annotations

from collections.abc import Mapping

SECTIONS: Mapping[str, Mapping[str, tuple[str, str]]] = {
    "Asking": {
        "ask": ("ask", "Ask one question and print the answer."),
        "chat": ("chat", "Talk with a model."),
        "batch": ("batch", "Ask a file of prompts; goes on where it was stopped."),
    },
    "Looking": {
        "models": ("models", "List models, their limits and prices."),
        "vendors": ("vendors", "List vendors, and who has a key."),
        "explain": ("explain", "Tell who would be asked, and why."),
        "health": ("health", "Ask the vendors how they are."),
        "info": ("info", "Tell versions, places and extras."),
    },
    "Accounting": {
        "usage": ("usage", "Tell what was used and what it cost."),
        "calls": ("calls", "List the latest calls, or tell one in full."),
        "export": ("export_calls", "Write the calls to a file."),
        "import": ("import_calls", "Take calls in from a file."),
        "init-db": ("init_db", "Make the ledger."),
        "migrate": ("migrate", "Bring the ledger's tables up to date."),
        "receipts": ("receipts", "Sign what calls cost, and verify it."),
    },
    "Models by name": {
        "lock": ("lock", "Make and check a lockfile of aliases."),
        "bind": ("bind", "Let an alias stand for models."),
        "aliases": ("aliases", "List aliases and their models."),
        "json-refresh": ("json_refresh", "Fetch models and prices from the registry."),
    },
    "Setting up": {
        "config": ("config", "Check a configuration."),
        "keys": ("keys", "Keep keys in the system's keychain."),
        "cache": ("cache", "Look at a cache of answers, or empty it."),
        "completion": ("completion", "Print a shell's completion script."),
    },
    "Tools": {
        "simulate": ("simulate", "Serve pretended vendors on a port."),
    },
}
"""By heading: the commands, each with its file in ``commands/`` and the line that the list of commands has."""

ROOMS: Mapping[str, tuple[str, str]] = {name: row for rows in SECTIONS.values() for name, row in rows.items()}
"""The same without headings."""

ALSO = {"run": "batch"}
"""Older names of commands."""
