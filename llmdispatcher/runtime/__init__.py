"""What the machine provides: clock, deadline, cancellation, channels, threads, forks, files, the environment."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._lazy import door

if TYPE_CHECKING:
    from .channel import Channel as Channel
    from .channel import ChannelClosed as ChannelClosed
    from .deadline import SYSTEM_CLOCK as SYSTEM_CLOCK
    from .deadline import AttemptMetrics as AttemptMetrics
    from .deadline import Cancellation as Cancellation
    from .deadline import Clock as Clock
    from .deadline import Deadline as Deadline
    from .deadline import KeyAssignment as KeyAssignment
    from .deadline import new_id as new_id
    from .deadline import unique_hex as unique_hex
    from .environment import cache_folder as cache_folder
    from .environment import data_folder as data_folder
    from .environment import from_environment as from_environment
    from .environment import make_data_folder as make_data_folder
    from .environment import own_file as own_file
    from .environment import state_folder as state_folder
    from .environment import user_path as user_path
    from .environment import variables as variables
    from .files import delete_file as delete_file
    from .files import lock as lock
    from .files import make_file as make_file
    from .files import open_file as open_file
    from .files import write_file as write_file
    from .forks import new_lock as new_lock
    from .forks import on_fork as on_fork
    from .parallel import TimedCalls as TimedCalls
    from .parallel import fan_out as fan_out
    from .redis import RedisClients as RedisClients
else:
    __getattr__, __dir__ = door(
        __name__,
        {
            "channel": ("Channel", "ChannelClosed"),
            "deadline": (
                "Cancellation",
                "Clock",
                "Deadline",
                "KeyAssignment",
                "AttemptMetrics",
                "new_id",
                "SYSTEM_CLOCK",
                "unique_hex",
            ),
            "environment": (
                "cache_folder",
                "data_folder",
                "from_environment",
                "make_data_folder",
                "own_file",
                "state_folder",
                "user_path",
                "variables",
            ),
            "files": ("delete_file", "lock", "make_file", "open_file", "write_file"),
            "forks": ("new_lock", "on_fork"),
            "parallel": ("fan_out", "TimedCalls"),
            "redis": ("RedisClients",),
        },
    )
