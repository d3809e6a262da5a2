"""The package's promises are what is stored of them in ``shapes/``; ``python -m tests.stored.write`` writes them anew.

What each file holds: names.txt, signatures.txt and signatures_testing.txt the public names and how they are called; errors.json the
tree of errors; explained.txt what ``explain()`` says of some routes; values.json the fields of what calls give back; options.txt
and command_line.json the command line; modules.json, threads.txt and loggers.txt what of it is seen in a process.
"""

from __future__ import annotations

import pytest

from .parts import PARTS, made
from .shaping import SHAPES, difference


@pytest.mark.timeout(240)  # some start processes, which a busy machine is slow at
@pytest.mark.parametrize("name", PARTS)
def test_a_promise_is_what_is_stored_of_it(name):
    """Whoever changes one on purpose writes it anew and has the difference reviewed."""
    told = difference(name, made(name))

    assert not told, told


def test_nothing_is_stored_that_nobody_compares():
    """Each file has a program that makes it."""
    assert sorted(PARTS) == sorted(path.name for path in SHAPES.iterdir())
