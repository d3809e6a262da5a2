"""The time of a call with untouched settings: two vendors, a clock moved by hand, and a first vendor that is silent or slow."""

import pytest

from llmdispatcher import (
    AllTargetsFailed,
    AuthenticationError,
    DeadlineExceeded,
    Dispatcher,
    RateLimitError,
    Request,
    Response,
    StreamChunk,
    Usage,
)
from llmdispatcher.testing import FakeVendor, ManualClock
from llmdispatcher.wire import EMBEDDING_CODECS

from .parts import Server, at, made

FOR_EVER = 1e9
ASK = Request("m", "hi")
NAMED = {"default_vendor": "first", "fallback_vendor": "second"}


ROLE, USAGE = StreamChunk(model="m", response_id="1"), StreamChunk(usage=Usage(input_tokens=5))


class Begins(FakeVendor):
    """Its streams begin with a chunk without output, which comes again at an interval, and speak after so many seconds, if ever."""

    def __init__(self, chunk=ROLE, *, speaks=FOR_EVER, every=1.0, name="first"):
        super().__init__("first", name=name)
        self.chunk, self.speaks, self.every = chunk, speaks, every

    def stream(self, request, deadline):
        response = super().stream(request, deadline)
        left = self.speaks
        while left > 0:
            yield self.chunk
            deadline.sleep(min(self.every, left))
            left -= self.every
        yield from response


class Stage:
    """A first vendor that takes so many seconds, a quick second, and a third that nobody has named."""

    def __init__(self, latency, names=("first", "second", "third"), answer="first", first=None, **settings):
        self.clock = ManualClock()
        first = first or FakeVendor(answer, name=names[0], latency=latency)
        self.vendors = [first, *[FakeVendor(name, name=name) for name in names[1:]]]
        self.dispatcher = Dispatcher({**dict(zip(NAMED, names, strict=False)), **settings}, clock=self.clock)
        for vendor in self.vendors:
            self.dispatcher.register_vendor(vendor)

    def ask(self, request=ASK, *, streamed=False, **options):
        """Who answers, and after how many seconds."""
        began = self.clock.monotonic()
        if streamed:
            with self.dispatcher.send_streaming(request, **options) as stream:
                answered = stream.response().vendor
        else:
            answered = self.dispatcher.send(request, **options).vendor
        return answered, self.clock.monotonic() - began

    def late(self, request=ASK, **options):
        """After how many seconds a call ends with the deadline."""
        began = self.clock.monotonic()
        with pytest.raises(DeadlineExceeded):
            self.dispatcher.send(request, **options)
        return self.clock.monotonic() - began

    @property
    def hits(self):
        return [vendor.hits for vendor in self.vendors]

    def circuit(self, request=ASK):
        plan = self.dispatcher.explain(request)
        return plan.status(plan.targets[0]).circuit


@pytest.mark.parametrize("streamed", [False, True])
def test_a_silent_vendor_ends_in_the_answer_of_the_second(streamed):
    """Soon after what an answer may need, well before the deadline, and nobody else is asked."""
    stage = Stage(FOR_EVER)
    vendor, seconds = stage.ask(streamed=streamed)

    assert ("second", [1, 1, 0]) == (vendor, stage.hits)
    assert 50 <= seconds <= 75


TOO_SHORT = {
    "shorter than an answer may need": (
        {},
        "a whole answer may need 60 s; set timeout= above that, or leave it out",
    ),
    "a model that thinks": ({"reasoning_effort": "high"}, "a model that thinks may take all of the time; first_byte_timeout="),
    "silences are final": ({}, "retry_ambiguous=False forbids to ask another after that"),
}


@pytest.mark.parametrize(("fields", "why"), TOO_SHORT.values(), ids=TOO_SHORT)
def test_a_timeout_that_spares_the_second_vendor_says_so(fields, why):
    """Who gave no answer, who was not asked and why, and what to set."""
    policy = {"retry_policy": {"retry_ambiguous": False}} if "retry_ambiguous" in why else {}
    stage = Stage(FOR_EVER, timeout=30, **policy)
    with pytest.raises(DeadlineExceeded) as raised:
        stage.ask(Request("m", "hi", **fields))

    assert [1, 0, 0] == stage.hits
    assert f"(first gave no answer in 30 s, and second:m was not asked: {why}" in str(raised.value)


def test_a_timeout_above_the_need_asks_the_second_vendor():
    """As the error says."""
    assert "second" == Stage(FOR_EVER, timeout=61).ask()[0]


@pytest.mark.parametrize("streamed", [False, True])
def test_the_tenth_call_does_not_wait(streamed):
    """Three calls wait; the circuit is open for the others, for no less than a call waited."""
    stage = Stage(FOR_EVER)
    waited = [stage.ask(streamed=streamed)[1] for _ in range(3)]
    for _ in range(7):
        assert ("second", 0) == stage.ask(streamed=streamed)
        stage.clock.advance(6)

    assert min(waited) >= 50
    assert ([3, 10, 0], "open") == (stage.hits, stage.circuit())


BEGINNINGS = {"silent": (ROLE, FOR_EVER), "empty": (StreamChunk(), 1.0), "role": (ROLE, 1.0), "usage": (USAGE, 1.0)}


@pytest.mark.parametrize(("chunk", "every"), BEGINNINGS.values(), ids=list(BEGINNINGS))
def test_a_stream_that_begins_and_says_nothing_is_a_silent_one(chunk, every):
    """It has the share of a first event, goes to the second vendor, and the fourth call does not wait."""
    stage = Stage(0.0, first=Begins(chunk, every=every))

    assert [("second", 60.0)] * 3 == [stage.ask(streamed=True) for _ in range(3)]
    assert [("second", 0.0)] * 7 == [stage.ask(streamed=True) for _ in range(7)]
    assert ([3, 10, 0], "open") == (stage.hits, stage.circuit())


def test_a_stream_that_begins_and_says_nothing_is_told():
    """In the trace: how long it was silent, and that it may be billed."""
    stage = Stage(0.0, first=Begins())
    with stage.dispatcher.send_streaming(ASK, timeout=3.0) as stream:
        first, second = stream.response().trace

    assert ("second", True, 1.5) == (second.vendor, first.possibly_billed, first.latency)


def test_a_stream_that_speaks_in_time_has_the_rest_of_the_deadline():
    """What comes before its first output does not count against it."""
    stage = Stage(0.0, first=Begins(speaks=55.0))

    assert ("first", 55.0) == stage.ask(streamed=True)
    assert ([1, 0, 0], "closed") == (stage.hits, stage.circuit())


def test_a_stream_that_begins_is_not_asked_elsewhere_where_that_may_be_paid_twice():
    """Its deadline passes, the circuit learns from it, and the fourth call does not wait."""
    stage = Stage(0.0, first=Begins(), retry_policy={"retry_ambiguous": False})
    for _ in range(3):
        with pytest.raises(DeadlineExceeded):
            stage.ask(streamed=True, timeout=30.0)

    assert ("second", 0.0) == stage.ask(streamed=True, timeout=30.0)


THOUGHTFUL = Request("o3", "hi")


@pytest.mark.parametrize(("timeout", "speaks"), [(240.0, 170.0), (150.0, 149.0)])
def test_a_model_that_thinks_and_has_begun_has_the_time_of_its_thoughts(timeout, speaks):
    """Longer than half of the deadline: what keeps the connection alive shows that it is at work."""
    stage = Stage(0.0, ("openai", "second", "third"), first=Begins(speaks=speaks, name="openai"))

    assert ("openai", speaks) == stage.ask(THOUGHTFUL, streamed=True, timeout=timeout)


def test_a_model_that_thinks_for_ever_is_left_in_time():
    """After what it may need another answers, and later calls do not wait."""
    stage = Stage(0.0, ("openai", "second", "third"), first=Begins(name="openai"))

    assert [("second", 340.0)] * 3 == [stage.ask(THOUGHTFUL, streamed=True) for _ in range(3)]
    assert ("second", 0.0) == stage.ask(THOUGHTFUL, streamed=True)


def test_an_honest_answer_of_45_seconds_is_asked_for_once():
    """It comes, nobody else is asked, and nothing is held against who gave it."""
    stage = Stage(45.0)

    assert ("first", 45.0) == stage.ask()
    assert ([1, 0, 0], "closed") == (stage.hits, stage.circuit())


def test_an_honest_long_answer_has_the_time_of_its_tokens():
    """Eight thousand tokens at fifty a second are 160 s, which may well be 300."""
    stage = Stage(300.0)

    assert ("first", 300.0) == stage.ask(Request("m", "hi", max_tokens=8_000))
    assert [1, 0, 0] == stage.hits


def test_a_silent_vendor_that_was_asked_for_much_is_given_more_time():
    """The second answers after the need of the longer answer."""
    stage = Stage(FOR_EVER)

    assert ("second", 220.0) == stage.ask(Request("m", "hi", max_tokens=5_000))


THINKING = {"by itself": (Request("o3", "hi"), 400.0), "asked to": (Request("gpt-4o", "hi", reasoning_effort="high"), 600.0)}


@pytest.mark.parametrize(("request_", "timeout"), THINKING.values(), ids=list(THINKING))
def test_a_model_that_thinks_has_the_whole_deadline(request_, timeout):
    """Nobody can tell how long it thinks: an answer just before the deadline is asked for once."""
    stage = Stage(timeout - 1, ("openai", "second", "third"))

    assert ("openai", timeout - 1) == stage.ask(request_)
    assert ([1, 0, 0], "closed") == (stage.hits, stage.circuit(request_))


@pytest.mark.parametrize(("request_", "timeout"), THINKING.values(), ids=list(THINKING))
def test_a_silent_model_that_thinks_is_left_alone_by_later_calls(request_, timeout):
    """Its deadlines pass, and the circuit learns from them."""
    stage = Stage(FOR_EVER, ("openai", "second", "third"))

    assert [timeout] * 3 == [stage.late(request_) for _ in range(3)]
    assert ("second", 0.0) == stage.ask(request_)


@pytest.mark.parametrize("configured", [True, False])
def test_a_written_deadline_that_is_shorter_than_the_need_is_not_divided(configured):
    """An answer of 25 s comes within 30; a silent vendor costs three calls their deadline, and then the second is asked."""
    settings, options = ({"timeout": 30}, {}) if configured else ({}, {"timeout": 30})
    honest, silent = Stage(25.0, **settings), Stage(FOR_EVER, **settings)

    assert ("first", 25.0) == honest.ask(**options)
    assert [30.0] * 3 == [silent.late(**options) for _ in range(3)]
    assert [("second", 0.0)] * 3 == [silent.ask(**options) for _ in range(3)]
    assert [3, 3, 0] == silent.hits


def test_a_written_deadline_is_divided_for_a_stream():
    """Half of it for the first event, the rest for the second vendor."""
    stage = Stage(FOR_EVER)

    assert ("second", 15.0) == stage.ask(streamed=True, timeout=30)


def test_without_another_vendor_the_whole_deadline_is_for_the_one():
    """Nothing is kept back for nobody, and nothing is held against who is the only one."""
    stage = Stage(FOR_EVER, ("first",))

    assert [60.0] * 5 == [stage.late() for _ in range(5)]
    assert "closed" == stage.circuit()


def test_for_who_cannot_be_asked_nothing_is_kept_back():
    """While the others ask to be left alone, the first has all the time: its slow answer of 80 s comes."""
    stage = Stage(80.0)
    for vendor in stage.vendors[1:]:
        vendor.script(RateLimitError("slow down", status=429, retry_after=3_000))
        with pytest.raises(RateLimitError):
            stage.dispatcher.send_to_vendor(vendor.name, ASK)

    assert ("first", 80.0) == stage.ask()


def test_the_measured_pace_counts():
    """Twenty answers that took 0.1 s a token: another of the same length may take twice that, and 20 s more."""
    answer = Response(content="long", usage=Usage(input_tokens=5, output_tokens=400), finish_reason="stop")
    stage = Stage(40.0, answer=answer)
    for _ in range(20):
        stage.ask(Request("m", "hi", max_tokens=400))
    stage.vendors[0].latency = FOR_EVER

    assert ("second", 100.0) == stage.ask(Request("m", "hi", max_tokens=400))


def test_the_default_timeout_is_the_need_of_two():
    """Of one target at least a minute, of two their needs together, and at most ten minutes."""
    alone, many = Request("m", "hi", max_tokens=1), Request("m", "hi", max_tokens=4_000)
    seconds = [Stage(FOR_EVER, ("first",)).late(asked) for asked in (alone, many, Request("m", "hi", max_tokens=99_999))]
    both = Stage(FOR_EVER)
    both.vendors[1].latency = both.vendors[2].latency = FOR_EVER

    assert ([60.0, 180.0, 600.0], 360.0) == (seconds, both.late(many))


def test_what_was_sent_and_timed_out_may_be_paid_twice():
    """The trace says so, and under a policy that does not want it the first has the whole deadline, and nobody else is asked."""
    stage, careful = Stage(FOR_EVER), Stage(FOR_EVER, retry_policy={"retry_ambiguous": False})
    response = stage.dispatcher.send(ASK)

    assert [True, False] == [attempt.possibly_billed for attempt in response.trace]
    assert 120.0 == careful.late()
    assert [1, 0, 0] == careful.hits


class Slow(Server):
    """A server that takes so many seconds of the clock for each batch of texts."""

    def __init__(self, clock, seconds):
        self.clock, self.seconds = clock, seconds
        super().__init__()

    def __call__(self, peer, wire):
        self.clock.advance(self.seconds)
        super().__call__(peer, wire)


@pytest.mark.parametrize(("seconds", "vendor", "asked"), [(20.0, "openai", (3, 0)), (51.0, "second", (1, 3))])
def test_vectors_of_many_batches_have_all_the_time_once_the_first_is_there(seconds, vendor, asked):
    """Three batches of 20 s come from one vendor; a first batch that takes longer than the share comes from the next."""
    clock = ManualClock()
    slow, quick = Slow(clock, seconds), Server()
    texts = ["x"] * (2 * EMBEDDING_CODECS["openai_chat"].largest + 1)
    with made(at("openai", slow.url), at("openai", quick.url, name="second"), clock=clock, default_vendor="openai") as dispatcher:
        vectors = dispatcher.embed("text-embedding-3-small", texts)
    slow.close()
    quick.close()

    assert (vendor, len(texts), asked) == (vectors.vendor, len(vectors.vectors), (len(slow.prompts), len(quick.prompts)))


def embedded(seconds, batches, **options):
    """The seconds that so many batches took, each of them so long, by the first of two vendors."""
    clock = ManualClock()
    slow, quick = Slow(clock, seconds), Server()
    texts = ["x"] * ((batches - 1) * EMBEDDING_CODECS["openai_chat"].largest + 1)
    began = clock.monotonic()
    with made(at("openai", slow.url), at("openai", quick.url, name="second"), clock=clock, default_vendor="openai") as dispatcher:
        try:
            vectors = dispatcher.embed("text-embedding-3-small", texts, **options)
            assert ("openai", len(texts)) == (vectors.vendor, len(vectors.vectors))
        finally:
            slow.close()
            quick.close()
    return clock.monotonic() - began


def test_vectors_of_many_batches_have_the_need_of_each():
    """Five batches of 45 s come, and each is asked for once."""
    assert 225.0 == embedded(45.0, 5)


@pytest.mark.parametrize(("batches", "options", "seconds"), [(5, {"timeout": 100}, "100"), (14, {}, "600")])
def test_vectors_end_at_a_written_timeout_and_after_ten_minutes(batches, options, seconds):
    """What was written is what counts, and nothing takes longer than the longest timeout that nobody set."""
    with pytest.raises(DeadlineExceeded, match=rf"within its {seconds} s"):
        embedded(45.0, batches, **options)


def an_hour(stage, **options):
    """One call every ten seconds; gives the seconds that each of them took."""
    end, waits = stage.clock.monotonic() + 3_600, []
    while stage.clock.monotonic() < end:
        waits.append(stage.ask(**options)[1])
        stage.clock.advance(max(0.0, 10 - waits[-1]))
    return waits


@pytest.mark.parametrize("streamed", [False, True])
def test_an_hour_of_a_silent_vendor_costs_few_calls_little(streamed):
    """The first three wait for their share; then probes of 5 s, and two with a whole share: at most 180 s in an hour."""
    stage = Stage(FOR_EVER)
    waits = an_hour(stage, streamed=streamed)
    later = [wait for wait in waits[3:] if wait]

    assert min(waits[:3]) >= 50
    assert sum(wait > 5 for wait in later) <= 2
    assert sum(later) <= 180
    assert len(later) <= 15


def recovered(stage, latency, **options):
    """Seconds until a vendor that was silent for half an hour and is well again is found."""
    end = stage.clock.monotonic() + 1_800
    while stage.clock.monotonic() < end:
        stage.ask(**options)
        stage.clock.advance(10)
    stage.vendors[0].latency, back = latency, stage.clock.monotonic()
    while stage.ask(**options)[0] != "first":
        stage.clock.advance(10)
    assert "closed" == stage.circuit()
    return stage.clock.monotonic() - back


@pytest.mark.parametrize("streamed", [False, True])
def test_a_vendor_that_is_well_again_is_found_in_six_minutes(streamed):
    """The longest open time, and the call that finds it."""
    assert recovered(Stage(FOR_EVER), 4.0, streamed=streamed) <= 360


def test_a_slow_vendor_that_is_well_again_is_found_too():
    """Its honest answers of 45 s never come within a brief probe; a probe that waits its share comes in time."""
    assert recovered(Stage(FOR_EVER), 45.0) <= 2.5 * 1_800


def test_a_slow_vendor_whose_answers_were_measured_is_found_in_six_minutes():
    """A brief probe lasts twice as long as they took."""
    stage = Stage(12.0)
    assert ("first", 12.0) == stage.ask()
    stage.vendors[0].latency = FOR_EVER

    assert recovered(stage, 14.0) <= 360


def test_a_probe_is_not_brief_where_nobody_else_is_ready():
    """The other is limited: the honest answer of 45 s comes, and closes the circuit."""
    stage = Stage(FOR_EVER, ("first", "second"))
    for _ in range(3):
        stage.ask()
    stage.clock.advance(60)
    stage.vendors[0].latency = 45.0
    stage.vendors[1].script(RateLimitError("slow down", status=429, retry_after=3_000))
    with pytest.raises(RateLimitError):
        stage.dispatcher.send_to_vendor("second", ASK)

    assert ("first", 45.0) == stage.ask()
    assert "closed" == stage.circuit()


def test_a_probe_of_a_model_that_thinks_leaves_time_for_the_others():
    """Whether brief or not, its call ends in the other's answer."""
    request = Request("o3", "hi")
    stage = Stage(FOR_EVER, ("openai", "second"))
    for _ in range(3):
        stage.late(request)

    assert {"second"} == {answered for answered, _ in (_passed(stage, request) for _ in range(400))}


def _passed(stage, request):
    stage.clock.advance(10)
    return stage.ask(request)


def test_what_a_brief_probe_ends_in_says_so():
    """Where nobody answers it is told, and raising the timeout would not help."""
    stage = Stage(FOR_EVER, ("first", "second"))
    for _ in range(3):
        stage.ask()
    stage.clock.advance(60)
    stage.vendors[1].script(AuthenticationError("no"))
    with pytest.raises(AllTargetsFailed) as caught:
        stage.dispatcher.send(ASK)

    assert "it was silent for 5 s, all that a probe has" in str(caught.value.failures[0])
