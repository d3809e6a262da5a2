"""Guards: exact rules on what goes out and what comes back, and guards of one's own."""

import pytest

from llmdispatcher import (
    Config,
    ConfigError,
    ContentFiltered,
    Dispatcher,
    ImagePart,
    MaxLengthGuard,
    Message,
    PatternGuard,
    PersonalDataGuard,
    Request,
    Response,
    SchemaGuard,
    TextPart,
)
from llmdispatcher.dispatcher.guards import after, before
from llmdispatcher.testing import FakeVendor

CARD, NO_CARD = "4111 1111 1111 1111", "4111 1111 1111 1112"
IBAN, NO_IBAN = "GB82 WEST 1234 5698 7654 32", "GB83 WEST 1234 5698 7654 32"


def asked(text, *guards):
    """What a vendor is asked for a text."""
    return before(guards, Request("m", text)).messages[0].text


def told(text, *guards):
    """What a caller gets of an answer."""
    return after(guards, Request("m", "hi"), Response(content=text)).content


def test_nothing_is_copied_where_nothing_changes():
    """A request that passes is the same one."""
    request = Request("m", "hello")

    assert before([PersonalDataGuard(), MaxLengthGuard(request=99), PatternGuard(pattern="secret")], request) is request


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("write to jo@example.org now", "write to [email] now"),
        (f"pay with {CARD}.", "pay with [card]."),
        (f"not with {NO_CARD}", f"not with {NO_CARD}"),
        (f"to {IBAN}", "to [iban]"),
        (f"to {NO_IBAN}", f"to {NO_IBAN}"),
        ("my number 123-45-6789", "my number [us_ssn]"),
        ("host 10.0.0.1 is down", "host [ipv4] is down"),
        ("call +41 44 668 18 00", "call [phone]"),
        ("version 1.2.3 of 2026-11-21", "version 1.2.3 of 2026-11-21"),
    ],
)
def test_personal_data_is_masked(text, masked):
    """Only what has the right form and, where there is one, the right check digit."""
    assert masked == asked(text, PersonalDataGuard())


def test_personal_data_can_be_refused():
    """The error names the kind, never the data."""
    with pytest.raises(ContentFiltered, match=r"personal data \(email\)") as caught:
        asked("jo@example.org", PersonalDataGuard(action="refuse"))

    assert "example.org" not in str(caught.value)
    assert not caught.value.try_elsewhere


def test_answers_are_looked_at_where_that_is_wished():
    """By default only what goes out."""
    assert ("a@b.ch", "[email]") == (told("a@b.ch", PersonalDataGuard()), told("a@b.ch", PersonalDataGuard(where="both")))


def test_parts_are_searched_and_pictures_left_alone():
    """Text in a list of parts is text."""
    picture = ImagePart(url="https://example.org/a.png")
    request = Request("m", [Message.user("a@b.ch", picture)])
    content = before([PersonalDataGuard()], request).messages[0].content

    assert (TextPart(text="[email]"), picture) == content


def test_a_pattern_refuses_or_masks():
    """By name, in one direction or both."""
    guard = PatternGuard(pattern=r"project \w+", name="a code name", action="mask", where="response", replacement="[code name]")

    assert ("project apollo", "[code name]") == (asked("project apollo", guard), told("project apollo", guard))
    with pytest.raises(ContentFiltered, match="a code name was found"):
        told("project apollo", PatternGuard(pattern="project", name="a code name"))


def test_lengths_are_bounded():
    """Of the whole conversation, and of the answer."""
    guard = MaxLengthGuard(request=5, response=3)

    assert ("12345", "123") == (asked("12345", guard), told("123", guard))
    with pytest.raises(ContentFiltered, match="the conversation has 6 characters, the limit is 5"):
        asked("123456", guard)
    with pytest.raises(ContentFiltered, match="the answer has 4 characters, the limit is 3"):
        told("1234", guard)


def test_an_answer_has_a_schema_or_is_refused():
    """Whatever the request asked for."""
    guard = SchemaGuard(schema={"type": "object", "required": ["a"]})

    assert '{"a": 1}' == told('{"a": 1}', guard)
    for text in ("hello", "{}"):
        with pytest.raises(ContentFiltered, match="does not have its form"):
            told(text, guard)


@pytest.mark.parametrize("schema", [{"type": "text"}, {"$ref": "http://example.com/a"}, {"pattern": "("}])
def test_a_guard_of_a_schema_that_cannot_be_checked_is_refused(schema):
    """When it is made."""
    with pytest.raises(ConfigError, match=r"^schema"):
        SchemaGuard(schema=schema)


class Shouting:
    """A guard of one's own."""

    def before(self, request):
        return Request(request.model, request.messages[0].text.upper())

    def after(self, request, response):
        return Response(content=response.content + "!")


def test_a_dispatcher_asks_its_guards():
    """Before a vendor is asked and after it has answered, for plain calls and for streams."""
    vendor = FakeVendor("fine")
    with Dispatcher(Config(guards=[Shouting()])) as dispatcher:
        dispatcher.register_vendor(vendor)
        plain = dispatcher.send(Request("m", "hello")).content
        with dispatcher.send_streaming(Request("m", "hello")) as stream:
            streamed = stream.response().content

    assert ("fine!", "fine!") == (plain, streamed)
    assert ["HELLO", "HELLO"] == [request.messages[0].text for request in vendor.seen]


def test_what_a_guard_refuses_is_never_sent():
    """No vendor hears of it."""
    vendor = FakeVendor("fine")
    with Dispatcher({"guards": [MaxLengthGuard(request=3)]}) as dispatcher:
        dispatcher.register_vendor(vendor)
        with pytest.raises(ContentFiltered):
            dispatcher.send(Request("m", "hello"))
        with pytest.raises(ContentFiltered):
            dispatcher.send_streaming(Request("m", "hello"))

    assert [] == vendor.seen


def test_an_answer_that_a_guard_refuses_was_asked_for():
    """The vendor has heard the prompt and will bill it, so the error does not say that nothing was sent."""
    with Dispatcher({"guards": [MaxLengthGuard(response=3)]}) as dispatcher:
        dispatcher.register_vendor(FakeVendor("too long"))
        with pytest.raises(ContentFiltered) as caught:
            dispatcher.send(Request("m", "hello"))

    assert caught.value.sent


@pytest.mark.parametrize(
    ("build", "text"),
    [
        (lambda: Config(guards="all"), "guards: str is not a list"),
        (lambda: Config(guards=[object()]), r"guards\[0\]: object has neither before"),
        (lambda: PatternGuard(pattern="("), r"pattern: '\(' is not a regular expression"),
        (lambda: PatternGuard(pattern="a", action="eat"), "action: 'eat' is not known; use refuse, mask"),
        (lambda: PersonalDataGuard(kinds=["shoe size"]), "kinds: 'shoe size' is not a kind"),
    ],
)
def test_a_mistake_is_told(build, text):
    """With field, value and remedy."""
    with pytest.raises(ConfigError, match=text):
        build()
