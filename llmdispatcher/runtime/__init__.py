"""What the machine provides: clock, deadline, cancellation, channels, threads, the environment."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._lazy import door

if TYPE_CHECKING:
    from .channel import Channel as Channel
    from .channel import ChannelClosed as ChannelClosed
    from .deadline import SYSTEM_CLOCK as SYSTEM_CLOCK
    from .deadline import Cancellation as Cancellation
    from .deadline import Clock as Clock
    from .deadline import Deadline as Deadline
    from .deadline import Lease as Lease
    from .deadline import Meter as Meter
    from .deadline import new_id as new_id
    from .deadline import new_lock as new_lock
    from .environment import cache_folder as cache_folder
    from .environment import data_folder as data_folder
    from .environment import from_environment as from_environment
    from .environment import made_folder as made_folder
    from .environment import private_file as private_file
    from .parallel import fan_out as fan_out
else:
    __getattr__, __dir__ = door(
        __name__,
        {
            "channel": (
                "Channel",
                "ChannelClosed",
            ),
            "deadline": (
                "Cancellation",
                "Clock",
                "Deadline",
                "Lease",
                "Meter",
                "new_id",
                "new_lock",
                "SYSTEM_CLOCK",
            ),
            "environment": (
                "cache_folder",
                "data_folder",
                "from_environment",
                "made_folder",
                "private_file",
            ),
            "parallel": ("fan_out",),
        },
    )
