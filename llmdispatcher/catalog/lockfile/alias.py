"""An alias in a profile, as routing sees it."""

from __future__ import annotations

import attrs


@attrs.frozen(eq=False)
class Alias:
    """What an alias stands for in a profile: ``models``, the first choice first. One object as long as that does not change.

    ``profile`` is ``None`` for the pools of a configuration, which are in no lockfile.
    """

    name: str
    profile: str | None
    models: tuple[str, ...]
