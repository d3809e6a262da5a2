"""When to ask again is understood in every form in which vendors say it, and is never absurd."""

from datetime import UTC, datetime

import pytest

from llmdispatcher import QuotaExceeded
from llmdispatcher.wire import fault
from llmdispatcher.wire.errors import duration, retry_after

NOW = datetime(2026, 11, 21, 12, 0, 0, tzinfo=UTC)


def hint(headers=None, body=None, *, limited=True):
    """The hint in some headers."""
    return retry_after(headers or {}, body, NOW, limited=limited)


FORMS = {
    "seconds": ({"retry-after": "2"}, 2.0),
    "fractions": ({"retry-after": "1.5"}, 1.5),
    "milliseconds": ({"retry-after-ms": "350"}, 0.35),
    "milliseconds first": ({"retry-after": "2", "retry-after-ms": "350"}, 0.35),
    "no milliseconds beside a second": ({"retry-after": "1", "retry-after-ms": "0"}, 1.0),
    "a date": ({"retry-after": "Sat, 21 Nov 2026 12:00:30 GMT"}, 30.0),
    "a date of old": ({"retry-after": "Saturday, 21-Nov-26 12:00:30 GMT"}, 30.0),
    "a date in the past": ({"retry-after": "Sat, 21 Nov 2020 12:00:00 GMT"}, 0.0),
    "a date by the vendor's own clock": (
        {"retry-after": "Sat, 21 Nov 2026 13:00:05 GMT", "date": "Sat, 21 Nov 2026 13:00:00 GMT"},
        5.0,
    ),
    "a date by a clock that is behind": (
        {"retry-after": "Sat, 21 Nov 2026 11:00:05 GMT", "date": "Sat, 21 Nov 2026 11:00:00 GMT"},
        5.0,
    ),
    "a date beside one that is none": ({"retry-after": "Sat, 21 Nov 2026 12:00:30 GMT", "date": "yesterday"}, 30.0),
    "a reset by the vendor's own clock": (
        {"anthropic-ratelimit-tokens-reset": "2026-11-21T13:00:09Z", "date": "Sat, 21 Nov 2026 13:00:00 GMT"},
        9.0,
    ),
    "zero": ({"retry-after": "0"}, 0.0),
    "two headers": ({"retry-after": "5, 10"}, 5.0),
    "blanks": ({"retry-after": " 5 "}, 5.0),
    "a billion": ({"retry-after": "1e9"}, 1e9),
    "negative": ({"retry-after": "-1"}, None),
    "infinite": ({"retry-after": "inf"}, None),
    "no number": ({"retry-after": "nan"}, None),
    "nonsense": ({"retry-after": "abc"}, None),
    "empty": ({"retry-after": ""}, None),
    "nonsense before sense": ({"retry-after-ms": "abc", "retry-after": "3"}, 3.0),
    "a Go duration": ({"x-ratelimit-reset-requests": "6m0s", "x-ratelimit-remaining-requests": "0"}, 360.0),
    "the exhausted limit's reset": (
        {
            "x-ratelimit-reset-requests": "1h0m0s",
            "x-ratelimit-remaining-requests": "59",
            "x-ratelimit-reset-tokens": "20ms",
            "x-ratelimit-remaining-tokens": "0",
        },
        0.02,
    ),
    "unknown as a negative number": ({"x-ratelimit-reset-tokens": "-1", "x-ratelimit-remaining-tokens": "-1"}, None),
    "an RFC 3339 reset": ({"anthropic-ratelimit-tokens-reset": "2026-11-21T12:00:09Z"}, 9.0),
    "a header before a reset": ({"retry-after": "4", "anthropic-ratelimit-tokens-reset": "2026-11-21T12:00:09Z"}, 4.0),
    "the draft's header": ({"ratelimit": '"api";r=0;t=55'}, 55.0),
    "the draft's header, not used up": ({"ratelimit": '"api";r=3;t=55'}, None),
    "a duration beyond all numbers": ({"x-ratelimit-reset-tokens": "9" * 400 + "h"}, None),
    "nothing": ({}, None),
}


@pytest.mark.parametrize(("headers", "expected"), FORMS.values(), ids=list(FORMS))
def test_a_hint_in_headers_is_understood(headers, expected):
    """Finite, never negative, or nothing at all."""
    assert expected == hint(headers)


def test_resets_count_for_a_rate_limit_only():
    """They come with every answer; in any other failure they mean nothing."""
    assert None is hint({"x-ratelimit-reset-tokens": "6m0s"}, limited=False)


@pytest.mark.parametrize(
    ("delay", "expected"), [("46s", 46.0), ("1.5s", 1.5), ("0s", 0.0), ("soon", None), (7, None), (None, None)]
)
def test_googles_retry_info_is_understood(delay, expected):
    """It stands in the body, as a protobuf duration."""
    assert expected == hint(
        body={"error": {"details": [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay}]}}
    )


def test_googles_retry_info_in_a_list_is_understood():
    """Google wraps the error of a stream that does not begin in a list."""
    assert 46.0 == hint(body=[{"error": {"details": [{"retryDelay": "46s"}]}}])
    assert isinstance(
        fault(429, {}, b'[{"error": {"message": "m", "details": [{"violations": [{"quotaId": "RequestsPerDay"}]}]}}]', NOW),
        QuotaExceeded,
    )


def test_a_loading_model_says_how_long():
    """Hugging Face estimates it."""
    assert 20.0 == hint(body={"error": "Model is currently loading", "estimated_time": 20.0}, limited=False)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("20ms", 0.02), ("6m0s", 360.0), ("1h2m3.5s", 3723.5), ("10us", 1e-5), ("", None), ("5", None), ("s", None), ("1s2", None)],
)
def test_durations_are_read_whole_or_not_at_all(text, expected):
    """A text that is only partly a duration is none."""
    assert expected == (pytest.approx(duration(text)) if duration(text) is not None else None)


def test_the_hint_is_on_the_error():
    """It is where the retry policy looks for it."""
    assert 30.0 == fault(429, {"retry-after": "Sat, 21 Nov 2026 12:00:30 GMT"}, b"", NOW).retry_after
