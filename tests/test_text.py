"""Text that is shown: what would steer, reorder, hide or forge becomes an escape, the rest stays as it is."""

from __future__ import annotations

import io
import logging
import pickle
import unicodedata

import pytest

from llmdispatcher import ConfigError, DispatchError, VendorUnavailable
from llmdispatcher._text import escaped, room_logger, traced, without_keys, without_passwords

VISIBLE = (
    "plain text, ß 漢字 العربية עברית हिन्दी 😀 e\u0301 \u00a0 \u3000 \ue000",
    "👨\u200d👩\u200d👧 ❤\ufe0f\u200d🔥",
    "می\u200cخواهم",
)
UNSEEN = {
    "\x00": "\\x00",
    "\x1b": "\\x1b",
    "\r": "\\r",
    "\n": "\\n",
    "\t": "\\t",
    "\x7f": "\\x7f",
    "\x9b": "\\x9b",
    "\u200b": "\\u200b",
    "\u202e": "\\u202e",
    "\u2066": "\\u2066",
    "\ufeff": "\\ufeff",
    "\u2028": "\\u2028",
    "\u3164": "\\u3164",
    "\ud800": "\\ud800",
    "\U000e0041": "\\U000e0041",
    "\U000e0101": "\\U000e0101",
}


@pytest.mark.parametrize("text", VISIBLE)
def test_what_can_be_seen_stays(text):
    """Letters of all scripts, emoji and what joins them."""
    assert text == escaped(text)


@pytest.mark.parametrize("sign", UNSEEN, ids=ascii)
def test_what_cannot_be_seen_is_written_as_an_escape(sign):
    """Wherever it stands."""
    assert [f"a{UNSEEN[sign]}b", UNSEEN[sign] * 2] == [escaped(f"a{sign}b"), escaped(sign * 2)]


def test_no_control_or_format_character_is_left_out():
    """But for those that stand for something which is seen: numbers in Arabic, Kaithi and Syriac, and hieroglyphs."""
    seen = {
        *range(0x600, 0x606),
        0x6DD,
        0x70F,
        0x890,
        0x891,
        0x8E2,
        0x110BD,
        0x110CD,
        *range(0x13430, 0x13440),
    }  # of the last, as many as this Python knows
    every = [chr(code) for code in range(0x110000) if unicodedata.category(chr(code)) in ("Cc", "Cf", "Cs", "Zl", "Zp")]

    assert seen >= {ord(sign) for sign in every if escaped(sign) == sign} >= {0x600, 0x6DD}


def test_a_joiner_between_plain_letters_hides_something():
    """It is no part of a word of ASCII."""
    assert "pay\\u200dpal" == escaped("pay\u200dpal")


def test_lines_may_be_kept():
    """As a terminal shows an answer; a return in front of a line feed is a line's end as well."""
    assert "a\n\tb\\rc\nd" == escaped("a\n\tb\rc\r\nd", keep="\n\t")


@pytest.fixture
def log():
    """What the logger of a room writes."""
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    handler.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s"))
    logger = room_logger("test_text")
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    yield logger, written
    logger.removeHandler(handler)


def test_a_log_line_cannot_be_forged(log):
    """Neither by what is put into it nor by what an exception says, nor by one behind it."""
    logger, written = log
    logger.info("%s failed", "model\nCRITICAL llmdispatcher: forged\x1b[2J")
    try:
        try:
            raise KeyError("first\nCRITICAL forged")
        except KeyError as first:
            raise ValueError("second\nCRITICAL forged \u202e") from first
    except ValueError:
        logger.exception("an observer failed")
    told = written.getvalue()

    assert not [line for line in told.splitlines() if line.startswith("CRITICAL")]
    assert "INFO llmdispatcher.test_text: model\\nCRITICAL llmdispatcher: forged\\x1b[2J failed\n" in told
    assert "KeyError: 'first\\nCRITICAL forged'" in told
    assert "ValueError: second\\nCRITICAL forged \\u202e" in told
    assert "direct cause" in told


def test_a_usual_log_line_keeps_its_arguments(log):
    """Collectors of logs group by the text without them."""
    logger, _ = log
    seen = []
    logger.addFilter(seen_by := lambda record: seen.append((record.msg, record.args)) or True)
    logger.info("%s took %.1f s", "openai", 1.0)
    logger.removeFilter(seen_by)

    assert [("%s took %.1f s", ("openai", 1.0))] == seen


def test_a_traceback_ends():
    """Also where exceptions stand behind each other in a circle."""
    one, two = ValueError("one"), ValueError("two")
    one.__cause__, two.__cause__ = two, one

    assert traced(one).endswith("ValueError: one")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("postgresql://app:hunter2@host/db is away", "postgresql://app:***@host/db is away"),
        ("postgresql://app:hun/te?r#2@host/db", "postgresql://app:***@host/db"),
        ("redis://:p@ss@host:6379/1", "redis://:***@host:6379/1"),
        ("postgresql:///db?user=a&password=hunter2&x=1", "postgresql:///db?user=a&password=***&x=1"),
        (
            "https://example.com/a:b is no secret, me@example.com neither",
            "https://example.com/a:b is no secret, me@example.com neither",
        ),
    ],
)
def test_passwords_of_addresses_are_left_out(text, shown):
    """Also of those that are written wrongly."""
    assert shown == without_passwords(text)


def test_shapes_of_keys():
    """Are found within words that are joined to them; what only begins like one stays."""
    for key in (
        "xoxb-123456789012-abcdefgh",
        "pplx-abcdefghijklmnopqrst",
        "ya29.a0AfH6SMBx-abcdefghijkl",
        "glpat-abcdefghijklmnopqrst",
    ):
        assert "my-***!" == without_keys(f"my-{key}!")
    harmless = "hf-internal-testing/tiny, disk-usage-of-this-machine, sk-short, eyJust.a.word"
    assert harmless == without_keys(harmless)


def test_the_text_of_an_error_is_one_line():
    """What a vendor said and what a user named can forge no line where it is logged; the words themselves are kept."""
    error = VendorUnavailable("line1\nERROR forged \x1b[31m", model="mod\nCRITICAL forged", vendor="v")

    assert "v:mod\\nCRITICAL forged: line1\\nERROR forged \\x1b[31m" == str(error)
    assert "line1\nERROR forged \x1b[31m" == error.message


def test_what_is_wrong_with_a_file_may_be_several_lines():
    """It is the library's own text."""
    assert "two mistakes\n  one\n  two\\x1b" == str(ConfigError("two mistakes\n  one\n  two\x1b"))


def test_an_error_that_was_cut_does_not_keep_the_rest():
    """Once it is masked, and not in a pickle."""
    error = DispatchError("secret " * 10, code="c").shortened(20)
    copied = pickle.loads(pickle.dumps(error))
    masked = error.masked(lambda text: text.replace("secret", "*"))

    assert ("secret secret secret", {}) == (copied.message, dict(copied._whole))
    assert ("* * * * * * * * * * ", "c", {}) == (masked.message, masked.code, dict(masked._whole))
    assert (masked.message,) == masked.args
