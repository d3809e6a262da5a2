"""Every public name of LiteLLM is here, or raises with what to use instead; the page of documentation has them all.

`python -m tests.integrations.test_litellm_names` writes the table of the page. The names are those of a released LiteLLM, in
`litellm_names.txt`.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import pytest

from llmdispatcher.integrations import litellm
from llmdispatcher.integrations.litellm.absent import remedy

NAMES = [line for line in (Path(__file__).parent / "litellm_names.txt").read_text().split("\n") if line and line[0] != "#"]
PAGE = Path(__file__).resolve().parents[2] / "docs" / "from-litellm.md"
BEGIN, END = "<!-- names -->\n", "<!-- end of names -->\n"
ASYNC = {name for name in NAMES if name.startswith("a") and "call " in remedy(name) and "from threads" in remedy(name)}


def table():
    """The names by what becomes of them."""
    rows = defaultdict(list)
    for name in NAMES:
        if name in litellm.WITHOUT_EFFECT:
            rows["may be set, and has no effect: what it asks for is so, or does not exist here"].append(name)
        elif name in litellm.NAMES:
            rows["**here**"].append(name)
        elif name in ASYNC:
            rows["raises when it is called: call the same without `a` from threads; there is no event loop here"].append(name)
        else:
            rows[f"raises: {remedy(name)}"].append(name)
    first = sorted(
        rows, key=lambda told: (told != "**here**", "no effect" not in told, "when it is called" not in told, -len(rows[told]))
    )
    lines = [f"| {told} | {len(rows[told])} | {' '.join(f'`{name}`' for name in rows[told])} |" for told in first]
    return "\n".join(["| what becomes of it | | names |", "| --- | --- | --- |", *lines, ""])


def test_the_page_has_every_name():
    """As the code has it: write it anew with the command of this file's docstring."""
    page = PAGE.read_text(encoding="utf-8")
    assert table() == page[page.index(BEGIN) + len(BEGIN) : page.index(END)]


def test_every_name():
    """Is there, or says what to use."""
    for name in NAMES:
        if name in litellm.NAMES or name in ASYNC:
            getattr(litellm, name)
            continue
        with pytest.raises(AttributeError, match=f"has no '{name}'"):
            pytest.fail(f"{name} is {getattr(litellm, name)!r}")
    assert {"acompletion", "aembedding", "atext_completion"} <= ASYNC == {name for name in NAMES if name in litellm._ASYNC}


def test_a_name_of_utils_says_what_to_use():
    """A name that LiteLLM documents is not told as one of its own working."""
    with pytest.raises(ImportError, match=r"no 'trim_messages'.*count with token_counter.*context_window_fallbacks"):
        from llmdispatcher.integrations.litellm.utils import trim_messages  # noqa: F401 - it cannot be imported


if __name__ == "__main__":
    page = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(page[: page.index(BEGIN) + len(BEGIN)] + table() + page[page.index(END) :], encoding="utf-8")
