"""``python -m llmdispatcher.server``: the same as ``llmdispatcher serve``."""

from __future__ import annotations

import runpy
import sys

sys.argv[1:1] = ["serve"]
runpy.run_module("llmdispatcher", run_name="__main__", alter_sys=False)  # the command line is above this room
