"""Which commands there are, where each lives, and what it is for: all that ``--help`` needs to know."""

from __future__ import annotations

from collections.abc import Mapping

SECTIONS: Mapping[str, Mapping[str, tuple[str, str]]] = {
    "Asking": {
        "batch": ("batch", "Ask a file of prompts; goes on where it was stopped."),
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
