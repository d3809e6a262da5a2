"""Receipts: what calls cost, signed, so that anybody can verify it and any change shows. Needs the extra ``receipts``."""

from __future__ import annotations

from importlib.util import find_spec

from ...errors import ConfigError

for _package in ("cryptography", "rfc8785"):
    if find_spec(_package) is None:
        raise ConfigError(f"receipts: {_package} is not installed; pip install 'llmdispatcher[receipts]'")
