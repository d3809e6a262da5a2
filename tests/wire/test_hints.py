"""When to ask again is understood in every form in which vendors say it, and is never absurd."""

import json
from datetime import UTC, datetime

import pytest

from llmdispatcher import QuotaExceeded
from llmdispatcher.wire import fault
from llmdispatcher.wire.errors import duration, rate_limit_remaining, retry_after

from ..cases import each

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
    "seconds until then": ({"x-ratelimit-reset-after": "60"}, 60.0),
    "seconds until then, of a limit that is not used up": ({"x-ratelimit-reset-after": "60", "x-ratelimit-remaining": "3"}, None),
    "a date as a reset": ({"x-ratelimit-reset": "Sat, 21 Nov 2026 12:00:30 GMT"}, 30.0),
    "a moment without a T": ({"x-ratelimit-reset": "2026-11-21 12:00:30Z"}, 30.0),
    "microseconds since 1970": ({"x-ratelimit-reset": str(int(NOW.timestamp() + 30) * 1_000_000)}, 30.0),
    "a duration beyond all": ({"x-ratelimit-reset": "9" * 400 + "s"}, None),
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
    "another name": ({"x-retry-after": "20"}, 20.0),
    "a name with the unit": ({"retry-after-seconds": "20"}, 20.0),
    "a name of limits": ({"x-ratelimit-retry-after": "20s"}, 20.0),
    "a reset in four words": ({"x-rate-limit-reset": "20"}, 20.0),
    "an earlier draft's header": ({"ratelimit": "limit=100, remaining=0, reset=20"}, 20.0),
    "an earlier draft's header, not used up": ({"ratelimit": "limit=100, remaining=5, reset=20"}, None),
    "the draft's header": ({"ratelimit": '"api";r=0;t=55'}, 55.0),
    "the draft's header, not used up": ({"ratelimit": '"api";r=3;t=55'}, None),
    "a duration beyond all numbers": ({"x-ratelimit-reset-tokens": "9" * 400 + "h"}, None),
    "nothing": ({}, None),
}


@each("headers, expected", FORMS)
def test_a_hint_in_headers_is_understood(headers, expected):
    """Finite, never negative, or nothing at all."""
    assert expected == hint(headers)


def test_resets_count_for_a_rate_limit_only():
    """They come with every answer; in any other failure they mean nothing."""
    assert None is hint({"x-ratelimit-reset-tokens": "6m0s"}, limited=False)


@each("delay, expected", [("46s", 46.0), ("1.5s", 1.5), ("0s", 0.0), ("soon", None), (7, None), (None, None)])
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


WORDS = {
    "Rate limit reached for gpt-4o on tokens per min. Please try again in 2.5s.": 2.5,
    "Please try again in 350ms. Visit https://x.example to learn more.": 0.35,
    "exceeded token rate limit. Please retry after 22 seconds.": 22.0,
    "Please try again in 7m12s.": 432.0,
    "Please try again in 1h2m3.5s": 3723.5,
    "Rate limit of 10 per 60s exceeded for UserByModelByMinute. Please wait 12 seconds before retrying.": 12.0,
    "Please retry in 45.837906927s.": 45.837906927,
    "request reached organization max RPM: 3, please try again after 1 seconds": 1.0,
    "Try again in 5 minutes": 300.0,
    "wait for 1 minute and 30 seconds": 90.0,
    "Your limit resets in 2 hours, 5 mins": 7500.0,
    "retry after 1 day": 86_400.0,
    "TRY AGAIN IN 3 SECONDS": 3.0,
    "Please retry after 0 seconds": 0.0,
    "\u8bf7\u5728 20 \u79d2\u540e\u91cd\u8bd5": 20.0,
    "\u8bf7\u57281.5\u5206\u949f\u4e4b\u540e\u518d\u8bd5": 90.0,
    "\u6bcf 20 \u79d2 3 \u6b21": None,
    "Capacity is available in 30 seconds": 30.0,
    "Quota hit. In 20s, try again": 20.0,
    "after 1m 20s please retry": 80.0,
    "retryDelay: 7s": 7.0,
    "cooldown 15s": 15.0,
    "back off for 8 seconds": 8.0,
    "Retry-After: 20": 20.0,
    "retry_after=12": 12.0,
    '{"retry_after_seconds": 12.5}': 12.5,
    "retry after 2026-12-01T00:00:00Z": None,
    "retry after 3 attempts": None,
    "Please try again later.": None,
    "Limit 30000, Used 29000, Requested 1500.": None,
    "try again in 3 attempts": None,
    "try again. 20s have passed": None,
    "try again in 5mb": None,
    "": None,
}


@each("message, expected", WORDS.items())
def test_a_wait_in_words_is_a_hint(message, expected):
    """Vendors that send no header for it say it to a human."""
    seen = fault(429, {}, json.dumps({"error": {"message": message, "code": "rate_limit_exceeded"}}).encode(), NOW).retry_after

    assert expected == (pytest.approx(seen) if seen is not None else None)


def test_a_header_is_more_exact_than_words():
    """Which round."""
    assert 3.0 == fault(429, {"retry-after": "3"}, b'{"error": {"message": "Please try again in 20s"}}', NOW).retry_after


def test_words_without_end_cost_nothing():
    """The text is bounded, and each pattern linear."""
    message = "try again " + "in " * 100_000 + "retry 1 " * 100_000
    assert None is fault(429, {}, json.dumps({"error": {"message": message}}).encode(), NOW).retry_after


@each(
    "error, expected",
    [
        ({"resets_in_seconds": 90}, 90.0),
        ({"retry_after": "20"}, 20.0),
        ({"metadata": {"retry_after_seconds": 7}}, 7.0),
        ({"retry_after_ms": 1500}, 1.5),
        ({"retry_after": "20s"}, 20.0),
        ({"retryAfter": "1m30s"}, 90.0),
        ({"retry_after_ms": "1500"}, 1.5),
        ({"retry_after_ms": "2s"}, 2.0),
        ({"Retry-After": 3}, 3.0),
        ({"detail": {"retry_after": 5}}, 5.0),
        ({"retry_after_secs": 3}, 3.0),
        ({"retryAfterInSeconds": "3"}, 3.0),
        ({"wait_time": 3}, 3.0),
        ({"reset_seconds": 3}, 3.0),
        ({"headers": {"retry-after": "3"}}, 3.0),
        ({"retry_after": True}, None),
        ({"retry_after": -1}, None),
        ({"retry_after": "soon"}, None),
    ],
)
def test_a_field_of_the_error_may_tell_the_wait(error, expected):
    """Beside its message, in its metadata, or beside the error."""
    assert expected == hint(body={"error": {"message": "slow", **error}})
    assert expected == hint(body={"error": "slow", **error})
    assert expected == hint(body={"message": "slow", **error})


@each(
    "reset, expected",
    [
        ("1795262460000", 60.0),
        ("1795262460", 60.0),
        ("30", 30.0),
        ("1m", 60.0),
        ("0", 0.0),
        ("1795262400000", 0.0),
        ("9" * 30, 1.0),
    ],
)
def test_the_headers_of_an_upstream_tell_a_reset(reset, expected):
    """OpenRouter repeats them in its metadata; a reset may be a moment, in either unit, or a duration."""
    headers = {"X-RateLimit-Limit": "20", "X-RateLimit-Remaining": "0", "X-RateLimit-Reset": reset}
    body = {"error": {"message": "free-models-per-min", "code": 429, "metadata": {"headers": headers}}}
    seen = fault(429, {}, json.dumps(body).encode(), NOW).retry_after

    assert expected == seen if reset != "9" * 30 else seen > expected


def test_a_gateway_tells_the_wait_beside_its_upstreams_words():
    """Which say none."""
    metadata = {"raw": json.dumps({"error": {"message": "slow"}}), "retry_after_seconds": 7}
    body = {"error": {"message": "Provider returned error", "code": 429, "metadata": metadata}}

    assert 7.0 == fault(429, {}, json.dumps(body).encode(), NOW).retry_after


@each(
    "headers",
    [
        {"x-ratelimit-reset-tokens-minute": "11.38", "x-ratelimit-remaining-tokens-minute": "0"},
        {"x-ratelimit-reset-requests": "11.38"},
        {"retry-after": "11.38s"},
        {"retry-after": "11.38 seconds"},
        {"ratelimit-reset": "11.38"},
    ],
)
def test_a_number_is_a_number_of_seconds(headers):
    """Cerebras writes resets so, others a duration where a number belongs."""
    assert 11.38 == hint(headers)


@each(
    "text, expected",
    [("20ms", 0.02), ("6m0s", 360.0), ("1h2m3.5s", 3723.5), ("10us", 1e-5), ("", None), ("5", None), ("s", None), ("1s2", None)],
)
def test_durations_are_read_whole_or_not_at_all(text, expected):
    """A text that is only partly a duration is none."""
    assert expected == (pytest.approx(duration(text)) if duration(text) is not None else None)


def test_the_hint_is_on_the_error():
    """It is where the retry policy looks for it."""
    assert 30.0 == fault(429, {"retry-after": "Sat, 21 Nov 2026 12:00:30 GMT"}, b"", NOW).retry_after


@each(
    "headers, requests",
    [
        ({"x-ratelimit-remaining-requests": "5", "x-ratelimit-limit-requests": "100"}, 5),
        ({"x-ratelimit-remaining-requests": "50", "x-ratelimit-limit-requests": "100"}, None),
        ({"x-ratelimit-remaining-requests": "0"}, 0),
        ({"x-ratelimit-remaining-requests": "1000000"}, None),
    ],
)
def test_little_is_left_where_it_is_little_of_the_limit(headers, requests):
    """Of a limit that nobody told a number says nothing, unless it is zero."""
    left = rate_limit_remaining(headers, NOW)

    assert requests == (None if left is None else left.requests)
