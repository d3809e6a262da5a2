"""A vendor's refusal becomes the one of our errors that says what to do about it."""

import json
from datetime import UTC, datetime

from llmdispatcher import (
    AuthenticationError,
    ContentFiltered,
    ContextWindowExceeded,
    InvalidRequest,
    MalformedReply,
    ModelNotFound,
    QuotaExceeded,
    RateLimitError,
    VendorUnavailable,
)
from llmdispatcher.wire import fault
from llmdispatcher.wire.errors import fault_inside

from ..cases import each


def refused(status, error=None, headers=None, **more):
    """The error of a refusal in OpenAI's shape."""
    body = {"error": {"message": "no", **(error or {})}, **more}
    return fault(status, headers or {}, json.dumps(body).encode())


BY_STATUS = {
    **dict.fromkeys((400, 405, 413, 415, 422), InvalidRequest),
    **dict.fromkeys((401, 403), AuthenticationError),
    402: QuotaExceeded,
    404: ModelNotFound,
    429: RateLimitError,
    451: ContentFiltered,
    **dict.fromkeys((408, 409, 425, 500, 502, 503, 504, 520, 521, 522, 523, 524, 529, 599), VendorUnavailable),
}


@each("status, kind", BY_STATUS.items())
def test_a_status_alone_names_the_error(status, kind):
    """Where nothing else is said the status decides, and is kept."""
    error = fault(status, {}, b"")

    assert (kind, status) == (type(error), error.status)


BY_WORDS = {
    "quota by code": (429, {"code": "insufficient_quota"}, QuotaExceeded),
    "a quota exceeded": (429, {"code": "quota_exceeded"}, QuotaExceeded),
    "a usage limit reached": (429, {"type": "usage_limit_reached"}, QuotaExceeded),
    "quota by type": (429, {"type": "insufficient_quota", "code": None}, QuotaExceeded),
    "quota by wording": (429, {"message": "You exceeded your current quota, please check your plan"}, QuotaExceeded),
    "credit by wording": (400, {"message": "Your credit balance is too low to access the API."}, QuotaExceeded),
    "a usage limit": (429, {"message": "you have reached your weekly usage limit, upgrade for higher limits"}, QuotaExceeded),
    "usage limits": (400, {"message": "You have reached your specified API usage limits."}, QuotaExceeded),
    "no credits": (429, {"message": "This account is out of credits."}, QuotaExceeded),
    "billing": (403, {"type": "billing_error"}, QuotaExceeded),
    "spend limit": (429, {"type": "rate_limit_error", "details": {"error_code": "enforced_spend_limit_reached"}}, QuotaExceeded),
    "contract limit": (429, {"type": "rate_limit_error", "details": {"error_code": "contract_spend_limit_reached"}}, QuotaExceeded),
    "ramp limit": (429, {"type": "rate_limit_error", "details": {"error_code": "ramp_limit_exceeded"}}, RateLimitError),
    "window by code": (400, {"code": "context_length_exceeded"}, ContextWindowExceeded),
    "window by type": (400, {"type": "exceed_context_size_error", "code": 400}, ContextWindowExceeded),
    "window, Anthropic": (400, {"message": "prompt is too long: 210000 tokens > 200000 maximum"}, ContextWindowExceeded),
    "window, output included": (
        400,
        {"message": "input length and `max_tokens` exceed context limit: 199999 + 4096"},
        ContextWindowExceeded,
    ),
    "window, Google": (
        400,
        {"message": "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576)."},
        ContextWindowExceeded,
    ),
    "policy by code": (400, {"code": "content_policy_violation"}, ContentFiltered),
    "policy, Azure": (400, {"code": "400", "innererror": {"code": "ResponsibleAIPolicyViolation"}}, ContentFiltered),
    "policy by wording": (400, {"message": "triggering Azure OpenAI's content management policy"}, ContentFiltered),
    "key with 400": (400, {"message": "API key not valid. Please pass a valid API key."}, AuthenticationError),
    "model by code": (400, {"code": "model_not_found"}, ModelNotFound),
    "model, Azure": (404, {"code": "DeploymentNotFound"}, ModelNotFound),
    "model, Anthropic": (404, {"message": "model: claude-9", "type": "not_found_error"}, ModelNotFound),
    "model, unknown": (400, {"message": "Unknown model: gpt-9"}, ModelNotFound),
    "model, not supported": (400, {"message": "model not supported"}, ModelNotFound),
    "model, unsupported": (400, {"message": "unsupported model gpt-9"}, ModelNotFound),
    "model, invalid": (400, {"message": "invalid model"}, ModelNotFound),
    "no model: deprecated": (400, {"message": "`temperature` is deprecated for this model"}, InvalidRequest),
    "no model: parameter": (400, {"message": "unsupported parameter: 'top_k' for this model"}, InvalidRequest),
    "no model: with this model": (400, {"message": "'stop' is not supported with this model."}, InvalidRequest),
}


@each("status, error, kind", BY_WORDS)
def test_what_the_vendor_says_outweighs_the_status(status, error, kind):
    """Vendors hide one failure behind another's status; their codes and wordings tell them apart."""
    assert kind is type(refused(status, error))


def google(message="Quota exceeded", **detail):
    """A 429 of Google's."""
    body = {"error": {"code": 429, "message": message, "status": "RESOURCE_EXHAUSTED", "details": [detail] if detail else []}}
    return fault(429, {}, json.dumps(body).encode())


@each(
    "kind, detail",
    [
        (RateLimitError, {}),
        (RateLimitError, {"retryDelay": "46s"}),
        (RateLimitError, {"violations": [{"quotaId": "GenerateRequestsPerMinutePerProjectPerModel", "quotaValue": "15"}]}),
        (QuotaExceeded, {"violations": [{"quotaId": "GenerateRequestsPerDayPerProjectPerModel-FreeTier"}]}),
        (QuotaExceeded, {"violations": [{"quotaId": "PerMinute", "quotaValue": "0"}]}),
        (QuotaExceeded, {"retryDelay": "36999s"}),
        (QuotaExceeded, {"reason": "QUOTA_EXHAUSTED"}),
        (RateLimitError, {"reason": "RATE_LIMIT_EXCEEDED"}),
    ],
)
def test_googles_daily_limits_are_told_from_those_of_a_minute(kind, detail):
    """A limit per day, of zero, or of hours is not worth waiting for."""
    assert kind is type(google("You exceeded your current quota, please check your plan and billing details.", **detail))


def test_a_limit_of_zero_in_the_text_is_a_spent_quota():
    """The free tier of a model that has none."""
    assert QuotaExceeded is type(google("Quota exceeded for metric: x, limit: 0, model: gemini-9"))


LATE = {
    "seconds": {"retry-after": "7200"},
    "milliseconds": {"retry-after-ms": "7200000"},
    "a date": {"retry-after": "Sat, 21 Nov 2026 15:00:00 GMT", "date": "Sat, 21 Nov 2026 13:00:00 GMT"},
    "a reset": {"anthropic-ratelimit-tokens-remaining": "0", "anthropic-ratelimit-tokens-reset": "2026-11-21T14:00:00Z"},
}


@each("headers", LATE)
@each("body", [b"", b'{"error": {"type": "rate_limit_error", "message": "Rate limit reached on tokens"}}'])
def test_a_rate_limit_of_hours_stays_a_rate_limit(headers, body):
    """Credit would not help; the remedy says when to come back."""
    error = fault(429, headers, body, datetime(2026, 11, 21, 12, tzinfo=UTC))

    assert (RateLimitError, 7_200.0) == (type(error), error.retry_after)
    assert "come back in 2.0 hours" in str(error)
    assert "credit" not in str(error)


def test_a_rate_limit_of_days_is_told_in_days():
    """A wait that no reader would count in hours."""
    assert "come back in 11.6 days" in str(fault(429, {"retry-after": "999999"}, b"slow down"))


def test_googles_delay_of_hours_without_words_of_a_quota_is_a_rate_limit():
    """The delay alone says nothing about money."""
    assert RateLimitError is type(google("Resource has been exhausted.", retryDelay="36999s"))


def test_googles_delay_is_the_hint():
    """Google says in the body when to come back."""
    assert 46.0 == google(retryDelay="46s").retry_after


SHAPES = {
    "object": ({"error": {"message": "why", "type": "t", "code": "c"}}, "c"),
    "object with a type": ({"error": {"message": "why", "type": "t", "code": None}}, "t"),
    "number for a code": ({"error": {"message": "why", "code": 400}}, "400"),
    "type before a number": ({"error": {"message": "why", "code": 400, "status": "INVALID_ARGUMENT"}}, "INVALID_ARGUMENT"),
    "own code before a nested one": ({"error": {"message": "why", "code": "c", "innererror": {"code": "deeper"}}}, "c"),
    "nested code before a type": ({"error": {"message": "why", "type": "t", "details": {"error_code": "deeper"}}}, "deeper"),
    "string": ({"error": "why"}, None),
    "flat": ({"object": "error", "message": "why", "type": "t", "code": "3051"}, "t"),
    "detail": ({"detail": "why"}, None),
    "list": ([{"error": {"message": "why", "code": "c"}}], "c"),
}


@each("body, code", SHAPES)
def test_message_and_code_are_found_in_every_shape(body, code):
    """Vendors wrap their errors in half a dozen ways."""
    error = fault(400, {}, json.dumps(body).encode())

    assert ("why", code) == (error.message, error.code)


@each(
    "headers, more, expected",
    [
        ({"x-request-id": "a"}, {}, "a"),
        ({"request-id": "b"}, {}, "b"),
        ({"apim-request-id": "c"}, {}, "c"),
        ({"request-id": "b"}, {"request_id": "d"}, "d"),
        ({"request-id": "b"}, {"request_id": None}, "b"),
        ({}, {}, None),
    ],
)
def test_the_request_id_is_kept(headers, more, expected):
    """It is what a vendor's support asks for first."""
    assert expected == refused(500, headers=headers, **more).request_id


@each(
    "status, said, expected",
    [(400, "true", True), (529, "false", False), (429, "False", False), (500, "maybe", True), (400, "", False)],
)
def test_the_vendors_word_on_retrying_counts(status, said, expected):
    """``x-should-retry`` overrules what the status would mean, for this error only."""
    error = refused(status, headers={"x-should-retry": said})

    assert (expected, type(error)("").retry_here) == (error.retry_here, status in (429, 529, 500))


def test_a_request_beyond_the_rate_itself_is_not_repeated():
    """A request larger than the limit of a minute fails the same way a minute later."""
    error = refused(429, {"message": "Request too large for gpt-4o on tokens per min (TPM): Limit 30000, Requested 30601."})

    assert (RateLimitError, False, True) == (type(error), error.retry_here, error.try_elsewhere)


@each(
    "location, host",
    [
        ("https://evil.example/v1?key=secret", "evil.example"),
        ("/elsewhere", "somewhere else"),
        ("http://[::1", "an address that is none"),
        (None, "somewhere else"),
    ],
)
@each("status", [301, 302, 303, 307, 308])
def test_a_redirect_names_status_and_host_only(status, location, host):
    """Where it leads is not followed, and its path and query may hold secrets."""
    error = fault(status, {} if location is None else {"location": location}, b"")

    assert (MalformedReply, status, False) == (type(error), error.status, error.retry_here)
    assert str(status) in str(error)
    assert host in str(error)
    assert "secret" not in str(error)


def test_a_web_page_is_named_not_quoted():
    """A proxy's error page tells by its title."""
    page = b"<!DOCTYPE html><html><head><title>502 Bad\n Gateway</title></head><body>" + b"<p>long</p>" * 1000
    error = fault(502, {"content-type": "text/html"}, page)

    assert "a web page instead of an answer: 502 Bad Gateway" == error.message


def test_text_that_is_not_json_is_quoted_briefly_without_controls():
    """Escape sequences reach no terminal, long bodies no log."""
    error = fault(500, {}, b"upstream \x1b[31mfailed\x07\r\n" + b"x" * 5000)

    assert "upstream [31mfailed xxx" in error.message
    assert 200 == len(error.message)


def test_a_long_message_is_cut():
    """A vendor that echoes the prompt does not fill the log."""
    assert 2_000 == len(refused(400, {"message": "x" * 50_000}).message)


@each("body", [{"error": {}}, {"error": {"message": None}}, {"error": {"message": ""}}, {"error": None}])
def test_an_error_without_a_reason_says_so(body):
    """An empty message is no message."""
    assert fault(400, {}, json.dumps(body).encode()).message


@each("status", [401, 402, 404, 429, 500])
def test_the_text_says_what_to_do(status):
    """Each error that a user can do something about says what."""
    error = refused(status)

    assert error.remedy
    assert error.remedy in str(error)


INSIDE = {
    "Anthropic, overloaded": (
        {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}},
        529,
        VendorUnavailable,
    ),
    "Anthropic, rate": ({"type": "error", "error": {"type": "rate_limit_error", "message": "slow"}}, 429, RateLimitError),
    "Anthropic, failed": (
        {"type": "error", "error": {"type": "api_error", "message": "Internal server error"}},
        500,
        VendorUnavailable,
    ),
    "OpenAI, quota": ({"error": {"code": "insufficient_quota", "message": "spent"}}, 429, QuotaExceeded),
    "OpenRouter, a number": ({"error": {"code": 502, "message": "upstream"}}, 502, VendorUnavailable),
    "Google": ({"error": {"code": 503, "status": "UNAVAILABLE", "message": "overloaded"}}, 503, VendorUnavailable),
    "Google, words only": ({"error": {"status": "RESOURCE_EXHAUSTED", "message": "slow"}}, 429, RateLimitError),
    "Groq": ({"error": {"type": "invalid_request_error", "status_code": 400, "message": "bad"}}, 400, InvalidRequest),
    "a string": ({"error": "out of memory"}, 500, VendorUnavailable),
    "window": (
        {"error": {"code": "context_length_exceeded", "type": "invalid_request_error", "message": "long"}},
        400,
        ContextWindowExceeded,
    ),
}


@each("document, status, kind", INSIDE)
def test_an_error_inside_a_200_is_what_it_stands_for(document, status, kind):
    """The status that it would have had is worked out from what it says."""
    error = fault_inside(document)

    assert (status, kind) == (error.status, type(error))


def test_a_login_for_a_proxy_is_no_wrong_key():
    """Status 407 of a proxy that nobody configured, whatever its page says: final here, and another vendor may be asked."""
    page = b"<html><title>Authentication required, invalid api key</title></html>"
    error = fault(407, {"proxy-authenticate": "Basic"}, page)
    assert VendorUnavailable is type(error)
    assert (False, True, 407) == (error.retry_here, error.try_elsewhere, error.status)
    assert "set proxy= or HTTPS_PROXY" in str(error)
