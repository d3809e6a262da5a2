"""``python -m tests.stored.write [NAME]...``: write the stored texts anew, all or these; tells which have changed."""

from __future__ import annotations

import sys

from .parts import PARTS, made
from .shaping import SHAPES, difference


def main(chosen: list[str]) -> int:
    """Write them; wrong names are told."""
    unknown = [name for name in chosen if name not in PARTS]
    if unknown:
        print(f"there is no {', '.join(unknown)}; there are {', '.join(PARTS)}", file=sys.stderr)
        return 2
    SHAPES.mkdir(exist_ok=True)
    for name in chosen or PARTS:
        text = made(name)
        changed = bool(difference(name, text))
        (SHAPES / name).write_text(text, encoding="utf-8")
        print(f"{name}: {'changed' if changed else 'as it was'}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
