"""What each failure leaves open: unsent, ambiguous, rejected, committed or final; by facts, and by every fault on sockets."""

import pytest

from llmdispatcher import (
    AllTargetsFailed,
    AuthenticationError,
    Cancelled,
    CircuitOpen,
    Config,
    ConfigError,
    ContentFiltered,
    DeadlineExceeded,
    Dispatcher,
    DispatchError,
    FailureClass,
    InvalidRequest,
    MalformedReply,
    OpenAIVendor,
    Overloaded,
    RateLimitError,
    Request,
    Response,
    RetryPolicy,
    StreamInterrupted,
    VendorUnavailable,
    errors,
)
from llmdispatcher.testing import FAULTS, UNREACHABLE, VendorSimulator
from llmdispatcher.testing.faults import stale

from .conftest import PATIENCE
from .matrix.conftest import hangs, undisturbed

UNSENT, AMBIGUOUS, REJECTED, COMMITTED, FINAL = FailureClass
HEAVY = {"B6", "B8", "S5"}
"""Rows that move megabytes; what they leave open is what their lighter neighbours do."""

BROKEN, HALF = {AMBIGUOUS}, {AMBIGUOUS, COMMITTED}
EXPECTED = {
    # row: what a failed plain call leaves open, what a failed stream does
    "N9": (BROKEN, BROKEN),
    "H1": (BROKEN, BROKEN),
    "H2": (BROKEN, BROKEN),
    "H3": (BROKEN, BROKEN),
    "H4": (BROKEN, BROKEN),
    "H5": (BROKEN, HALF),
    "H6": ({REJECTED}, {REJECTED}),
    "B1": ({AMBIGUOUS, FINAL}, {COMMITTED, AMBIGUOUS, FINAL}),
    "B2": (BROKEN, HALF),
    "B3": (BROKEN, HALF),
    "B4": (BROKEN, HALF),
    "B5": ({AMBIGUOUS, FINAL}, {COMMITTED, AMBIGUOUS, FINAL}),
    "B7": (BROKEN, HALF),
    "B9": (BROKEN, HALF),
    "B10": ({REJECTED}, {REJECTED, COMMITTED}),
    "S4": (BROKEN, HALF),
    "S7": (BROKEN, set()),
    "S8": (BROKEN, set()),
    "S9": ({AMBIGUOUS, FINAL}, {AMBIGUOUS, FINAL}),
    "S10": (BROKEN, {COMMITTED}),
    "R1": ({REJECTED}, {REJECTED}),
    "R2": ({REJECTED}, {REJECTED}),
    "R3": ({REJECTED}, {REJECTED}),
    "R4": ({REJECTED}, {REJECTED}),
    "R5": ({REJECTED}, {REJECTED}),
    "R6": ({REJECTED}, {REJECTED}),
}


@pytest.mark.parametrize(
    ("error", "expected", "billed"),
    [
        (VendorUnavailable("refused", phase="connect", sent=False), UNSENT, False),
        (VendorUnavailable("unknown name", phase="dns", sent=False), UNSENT, False),
        (VendorUnavailable("self-signed", phase="tls", sent=False, retry_here=False), FINAL, False),
        (VendorUnavailable("TLS broke", phase="tls", sent=False), UNSENT, False),
        (VendorUnavailable("silent", phase="first_byte", sent=True), AMBIGUOUS, True),
        (VendorUnavailable("a vendor of the user's failed"), AMBIGUOUS, True),
        (VendorUnavailable("overloaded", status=503, sent=True), REJECTED, False),
        (MalformedReply("no JSON", sent=True), AMBIGUOUS, True),
        (MalformedReply("redirect", status=307, sent=True), REJECTED, False),
        (MalformedReply("not the form", text="{"), COMMITTED, True),
        (StreamInterrupted("cut", sent=True), AMBIGUOUS, True),
        (StreamInterrupted("cut", status=500, partial=Response(content="half")), COMMITTED, True),
        (RateLimitError("slow down", status=429, sent=True), REJECTED, False),
        (RateLimitError("our own limit", sent=False), UNSENT, False),
        (AuthenticationError("no", status=401), REJECTED, False),
        (AuthenticationError("the function that gives the key failed", sent=False), UNSENT, False),
        (ContentFiltered("no", status=400), REJECTED, False),
        (InvalidRequest("no such field", status=400), REJECTED, False),
        (InvalidRequest("n: 0"), FINAL, False),
        (ConfigError("no key"), FINAL, False),
        (Cancelled("stop", sent=True), FINAL, True),
        (Cancelled("stop", sent=False), FINAL, False),
        (DeadlineExceeded("late", sent=True), FINAL, True),
        (CircuitOpen("left alone"), UNSENT, False),
        (Overloaded("full"), UNSENT, False),
        (AllTargetsFailed("none", failures=[VendorUnavailable("silent", sent=True)]), FINAL, True),
        (AllTargetsFailed("none", failures=[VendorUnavailable("refused", sent=False)]), FINAL, False),
    ],
    ids=lambda value: f"{type(value).__name__}-{value.message}" if isinstance(value, DispatchError) else "",
)
def test_the_facts_of_an_error_tell_its_class(error, expected, billed):
    """And whether the vendor may charge for it."""
    assert (expected, billed) == (error.failure_class, error.possibly_billed)


@pytest.mark.parametrize(
    "kind", [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, DispatchError)]
)
def test_every_error_has_a_class_without_any_facts(kind):
    """Whoever raises it, and however little he knows."""
    assert kind("it broke").failure_class in FailureClass


def attempts_of(url, *, streamed, asks=1, retries=0, each=PATIENCE):
    """What is written down of calls to one vendor, each of whose limits is so many seconds."""
    limits = {"first_byte_timeout": each, "idle_timeout": each, "progress_timeout": 2 * each, "connect_timeout": each}
    outcomes = []
    with Dispatcher(Config(retry_policy=RetryPolicy(max_retries=retries)), observers=[outcomes.append]) as dispatcher:
        dispatcher.register_vendor(OpenAIVendor(api_key="sk-0123456789abcdef", base_url=url, trust_env=False, **limits))
        for _ in range(asks):
            try:
                if streamed:
                    dispatcher.send_streaming(Request("gpt-4o", "hi", max_tokens=200), timeout=5 * each).response()
                else:
                    dispatcher.send(Request("gpt-4o", "hi", max_tokens=200), timeout=5 * each)
            except DispatchError as error:
                assert error.trace is not None  # noqa: PT017 - the failure is one of two ends
    return [attempt for outcome in outcomes for attempt in outcome.attempts]


@pytest.mark.parametrize("row", [row for row in FAULTS if row not in HEAVY])
def test_every_fault_leaves_open_what_its_row_says(row):
    """Plain and streamed; what may be billed is marked, what was refused or never sent is not."""
    wrong = []
    for fault in FAULTS[row]:
        for streamed in (False, True):
            allowed = EXPECTED.get(row, (set(), set()))[streamed]
            wrong += undisturbed(lambda each, fault=fault, said=(streamed, allowed): left_open(fault, *said, each))
    assert [] == wrong


def left_open(fault, streamed, allowed, each):
    """What is not as the row says; the limits are short where nothing else ends the call."""
    wrong = []
    with VendorSimulator(responses="one two three four five six seven eight nine ten.").always(fault) as simulator:
        attempts = attempts_of(simulator.openai_url, streamed=streamed, each=each / 2 if hangs(fault) else PATIENCE)
    for attempt in attempts:
        if attempt.error is not None and attempt.failure_class not in allowed:
            wrong.append(f"{fault.name} {streamed}: {attempt.error} is {attempt.failure_class}")
        if attempt.possibly_billed != (attempt.failure_class in (AMBIGUOUS, COMMITTED, FINAL)):
            wrong.append(f"{fault.name} {streamed}: {attempt.failure_class}, billed {attempt.possibly_billed}")
    return wrong


@pytest.mark.parametrize(("name", "expected"), [("N1", UNSENT), ("N2", UNSENT), ("N6", UNSENT), ("N7", AMBIGUOUS)])
def test_dead_ends_leave_open_how_far_the_request_came(name, expected):
    """An address where nobody answers: what was never sent is never billed."""
    billed = expected is AMBIGUOUS

    def wrong(each):
        with UNREACHABLE[name]() as url:
            (attempt,) = attempts_of(url, streamed=False, each=each / 2)
        said = (attempt.failure_class, attempt.possibly_billed, bool(attempt.bytes_sent))
        return [] if said == (expected, billed, billed) else [f"{said}"]

    assert [] == undisturbed(wrong)


def test_a_stale_connection_is_no_attempt_but_is_written_down():
    """The vendor closed what it had kept: sent once more on a new connection, in the same attempt."""
    with VendorSimulator(responses="yes").script("first", stale()) as simulator:
        attempts = attempts_of(simulator.openai_url, streamed=False, asks=2)

    assert [(None, 0, False), (None, 1, False)] == [(attempt.error, attempt.resent, attempt.reused) for attempt in attempts]
