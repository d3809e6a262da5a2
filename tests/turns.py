"""What two ways cost, measured so that a busy machine hurts both alike."""

from __future__ import annotations

import time
from collections.abc import Callable


def best_in_turns(*actions: Callable[[], object], rounds: int = 50, number: int = 200) -> list[float]:
    """The least processor time of this thread that ``number`` runs of each action took, over so many rounds taken in turns."""
    best = [float("inf")] * len(actions)
    for _ in range(rounds):
        for place, action in enumerate(actions):
            began = time.thread_time()
            for _ in range(number):
                action()
            best[place] = min(best[place], time.thread_time() - began)
    return best
