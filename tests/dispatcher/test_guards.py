"""Guards: exact rules on what goes out and what comes back, and guards of one's own."""

import base64
import re
from typing import Annotated, TypedDict

import attrs
import pytest

from llmdispatcher import (
    AudioPart,
    Choice,
    Citation,
    Config,
    ConfigError,
    ContentFiltered,
    Dispatcher,
    EmbeddingRequest,
    Embeddings,
    FilePart,
    ImagePart,
    MaxLengthGuard,
    Message,
    OtherPart,
    PatternGuard,
    PersonalDataGuard,
    ReasoningPart,
    Request,
    Response,
    SchemaGuard,
    TextPart,
    Tool,
    ToolCall,
    VendorTool,
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
        (f"{CARD} 4242 4242 4242 4242", "[card] [card]"),
        (f"12 {CARD}", "12 [card]"),
        (f"{CARD} 12", "[card] 12"),
        (f"3 cards 3 {CARD} 12/29 123 and 378282246310005 7", "3 cards 3 [card] 12/29 123 and [card] 7"),
        (f"{NO_CARD} {CARD}", f"{NO_CARD} [card]"),
        (f"{IBAN} DE89 3704 0044 0532 0130 00", "[iban] [iban]"),
        ("BE68 5390 0754 7034 THEN", "[iban] THEN"),
        (f"GB12 {IBAN}", "GB12 [iban]"),
        ("+41 44 668 18 00 555 123 4567", "[phone] [phone]"),
        ("+1 555 123 4567 +41 44 668 18 00", "[phone] [phone]"),
        ("555-123-4567 555-123-4568", "[phone] [phone]"),
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


MAIL = "bob@example.com"
TEXTS = {
    "text": Request("m", MAIL),
    "text part": Request("m", [Message.user(TextPart(text=MAIL))]),
    "field of a part": Request("m", [Message.user(TextPart(text="a", extra={"openai": {"note": MAIL}}))]),
    "text document": Request("m", [Message.user(FilePart(data=MAIL.encode(), media_type="text/plain", name="a.txt"))]),
    "text document of no media type": Request("m", [Message.user(FilePart(data=MAIL.encode()))]),
    "UTF-16 document": Request("m", [Message.user(FilePart(data=MAIL.encode("utf-16"), media_type="text/plain"))]),
    "Latin-1 document": Request("m", [Message.user(FilePart(data=f"\xe9 {MAIL}".encode("latin-1"), media_type="text/plain"))]),
    "JSON document": Request("m", [Message.user(FilePart(data=b'{"a": "bob\\u0040example.com"}', media_type="application/json"))]),
    "data URL": Request("m", [Message.user(FilePart(url="data:text/plain;base64,Ym9iQGV4YW1wbGUuY29t"))]),
    "transcript": Request("m", [Message.user(AudioPart(data=b"RIFF0000WAVE", format="wav", transcript=MAIL))]),
    "drawing": Request("m", [Message.user(ImagePart(data=f"<svg>{MAIL}</svg>".encode(), media_type="image/svg+xml"))]),
    "file name": Request("m", [Message.user(FilePart(data=b"a", media_type="text/plain", name=f"{MAIL}.txt"))]),
    "name of a speaker": Request("m", [Message("user", "a", name=MAIL)]),
    "thought": Request("m", [Message.assistant(ReasoningPart(text=MAIL, signature="s"))]),
    "block": Request("m", [Message.user(OtherPart(origin="anthropic", data={"type": "x", "text": MAIL}))]),
    "result of a tool": Request("m", [Message.tool(MAIL, "1")]),
    "arguments": Request("m", [Message.assistant(tool_calls=[ToolCall(name="f", arguments=f'{{"to": "{MAIL}"}}')])]),
    "escaped arguments": Request(
        "m", [Message.assistant(tool_calls=[ToolCall(name="f", arguments='{"to": "bob\\u0040example.com"}')])]
    ),
    "key of arguments": Request("m", [Message.assistant(tool_calls=[ToolCall(name="f", arguments=f'{{"{MAIL}": 1}}')])]),
    "broken arguments": Request("m", [Message.assistant(tool_calls=[ToolCall(name="f", arguments=f'{{"to": "{MAIL}')])]),
    "free arguments": Request("m", [Message.assistant(tool_calls=[ToolCall(name="f", arguments=MAIL, kind="custom")])]),
    "user": Request("m", "a", user=MAIL),
    "stop": Request("m", "a", stop=["b", MAIL]),
    "prompt_cache_key": Request("m", "a", prompt_cache_key=MAIL),
    "service_tier": Request("m", "a", service_tier=MAIL),
    "description of a tool": Request("m", "a", tools=[Tool(name="f", description=MAIL)]),
    "schema of a tool": Request("m", "a", tools=[Tool(name="f", parameters={"properties": {"to": {"enum": [MAIL]}}})]),
    "tool of the vendor": Request("m", "a", tools=[VendorTool(origin="openai", data={"type": "x", "hint": [MAIL]})]),
    "schema of the answer": Request("m", "a", response_format={"type": "object", "description": MAIL}),
    "extra_params": Request("m", "a", extra_params={"safety_identifier": MAIL}),
    "text deep in extra_params": Request("m", "a", extra_params={"prediction": {"content": [{"text": MAIL}]}}),
}
NAMES = {
    "name of a tool": Request("m", "a", tools=[Tool(name=MAIL)]),
    "choice of a tool": Request("m", "a", tool_choice=MAIL),
    "name of a called tool": Request("m", [Message.assistant(tool_calls=[ToolCall(name=MAIL)])]),
    "name of a tool that answers": Request("m", [Message.tool("a", "1", name=MAIL)]),
    "key of a schema": Request("m", "a", tools=[Tool(name="f", parameters={"properties": {MAIL: {}}})]),
    "key in extra_params": Request("m", "a", extra_params={"logit": {MAIL: 1}}),
    "address": Request("m", [Message.user(ImagePart(url=f"https://example.org/{MAIL}.png"))]),
    "address with its signs as numbers": Request("m", [Message.user(ImagePart(url="https://a.org/bob%40example.com.png"))]),
    "id of a file": Request("m", [Message.user(FilePart(file_id=MAIL))]),
}
"""What others refer to by its name."""


def sent(request):
    """All that a request holds, in one text."""
    values = str(attrs.asdict(request, value_serializer=lambda _instance, _field, value: _decoded(value)))
    return values.replace("\\\\", "\\")


def _decoded(value):
    if isinstance(value, bytes):
        return value.decode("utf-16" if value[:2] in (b"\xff\xfe", b"\xfe\xff") else "latin-1")
    if isinstance(value, str) and value.startswith("data:"):
        return base64.b64decode(value.partition(",")[2]).decode()
    return value


def test_every_text_that_is_sent_is_masked():
    """Wherever it stands in a request; nothing but the text changes."""
    for place, text in TEXTS.items():
        request = before([PersonalDataGuard(kinds=["email"])], text)

        assert "[email]" in sent(request), place
        assert not re.search(r"bob(@|\\u0040)", sent(request)), place
        assert before([PersonalDataGuard(kinds=["email"])], request) is request, place


def test_every_text_that_is_sent_can_be_refused():
    """Wherever it stands."""
    for request in (*TEXTS.values(), *NAMES.values()):
        with pytest.raises(ContentFiltered, match=r"personal data \(email\)"):
            before([PersonalDataGuard(action="refuse")], request)


@pytest.mark.parametrize("place", NAMES)
def test_what_cannot_be_masked_is_refused(place):
    """A name or an address is of no use when it is another; the error says what it is, and not what it was."""
    with pytest.raises(ContentFiltered, match="to be masked") as caught:
        before([PersonalDataGuard()], NAMES[place])

    assert MAIL not in str(caught.value)


def test_masked_arguments_are_still_json():
    """Numbers too become texts."""
    call = ToolCall(name="f", arguments='{"card": 4111111111111111, "n": 1}')
    request = before([PersonalDataGuard()], Request("m", [Message.assistant(tool_calls=[call])]))

    assert {"card": "[card]", "n": 1} == request.messages[0].tool_calls[0].parsed


def test_a_call_and_its_result_keep_the_same_id():
    """Also where an id has what is masked."""
    call, result = Message.assistant(tool_calls=[ToolCall(name="f", id=MAIL)]), Message.tool("a", MAIL)
    messages = before([PersonalDataGuard()], Request("m", [call, result])).messages

    assert "[email]" == messages[0].tool_calls[0].id == messages[1].tool_call_id


def test_a_masked_thought_loses_its_signature():
    """It proves the text as it was."""
    thought = before([PersonalDataGuard()], TEXTS["thought"]).messages[0].content[0]

    assert thought.signature is None


def test_words_of_a_format_are_no_texts():
    """A pattern that finds "type" or "user" finds them in what a user has written."""
    schema = {"type": "object", "properties": {"a": {"type": "string", "description": "b"}}, "required": ["a"]}
    tool = Tool(name="f", parameters=schema)
    request = Request("user", "a", tools=[tool], tool_choice="auto", response_format=schema, extra_params={"user_tier": 1})
    guard = PatternGuard(pattern="user|type|object|string|properties|description|required|auto|json_schema")

    assert before([guard], request) is request


class Weather(TypedDict):
    """How it is."""

    note: Annotated[str, f"Ask {MAIL}."]


def test_a_masked_form_still_makes_its_class():
    """The class is not sent."""
    form = before([PersonalDataGuard()], Request("m", "a", response_format=Weather)).response_format

    assert form.kind is Weather
    assert MAIL not in str(form)


BINARY = {
    "image": ImagePart(data=b"\x89PNG\r\n\x1a\n\xff"),
    "image elsewhere": ImagePart(url="https://example.org/a.png"),
    "image in a URL": ImagePart(url="data:image/png;base64,iVBORw0KGgo="),
    "recording": AudioPart(data=b"RIFF0000WAVE\xff", format="wav"),
    "PDF": FilePart(data=b"%PDF-1.7 bob@example.com", media_type="application/pdf"),
    "file at the vendor": FilePart(file_id="file-1"),
}


@pytest.mark.parametrize("kind", BINARY)
def test_what_cannot_be_read_passes_unless_a_guard_refuses_it(kind):
    """No guard sees what is in an image, a recording, a PDF or a file elsewhere."""
    request = Request("m", [Message.user("a", BINARY[kind])])

    assert before([PersonalDataGuard()], request) is request
    for guard in (PersonalDataGuard(unreadable="refuse"), PatternGuard(pattern="secret", unreadable="refuse")):
        with pytest.raises(ContentFiltered, match="cannot be read"):
            before([guard], request)


def test_a_length_counts_documents_and_arguments():
    """They are read like what is said."""
    document = FilePart(data=b"12345", media_type="text/plain")
    call = Message.assistant(tool_calls=[ToolCall(name="f", arguments="12345")])
    for messages in ([Message.user(document)], [Message.user("a"), call]):
        with pytest.raises(ContentFiltered, match="characters"):
            before([MaxLengthGuard(request=4)], Request("m", messages))


def test_all_of_an_answer_is_looked_at():
    """Every choice, its thoughts, its calls of tools, and what it says when it refuses."""
    call = ToolCall(name="f", arguments=MAIL)
    sound = AudioPart(data=b"RIFF", format="wav", transcript=MAIL)
    block = OtherPart(origin="anthropic", data={"text": MAIL})
    thought = ReasoningPart(text=MAIL, signature="s")
    choice = {
        "content": MAIL,
        "reasoning": MAIL,
        "refusal": MAIL,
        "tool_calls": (call,),
        "logprobs": ({"token": MAIL},),
        "parts": (thought, TextPart(text=MAIL), sound, block, call),
    }
    source = Citation(title=MAIL, text=MAIL, raw={"text": MAIL})
    response = Response(**choice, citations=(source,), other_choices=(Choice(**choice),))
    answer = after([PersonalDataGuard(where="both")], Request("m", "a"), response)

    assert MAIL not in str(attrs.asdict(answer))
    assert ["[email]", "[email]"] == [one.content for one in answer.choices]


class Counting(FakeVendor):
    """A vendor that counts tokens and makes vectors, and keeps what it was asked."""

    def __init__(self):
        super().__init__("fine")
        self.counted, self.embedded = [], []

    def count_tokens(self, request, deadline):
        self.counted.append(request)
        return 3

    def embed(self, request, deadline):
        self.embedded.append(request)
        return Embeddings(vectors=tuple([(0.0,) for _ in request.texts]))


def test_texts_to_embed_are_masked():
    """With the user and extra_params; nothing but these changes."""
    vendor = Counting()
    with Dispatcher(Config(guards=[PersonalDataGuard()])) as dispatcher:
        dispatcher.register_vendor(vendor)
        dispatcher.embed("m", ["a", MAIL], user=MAIL, extra_params={"title": MAIL}, dimensions=4)

    asked = EmbeddingRequest("m", ["a", "[email]"], user="[email]", extra_params={"title": "[email]"}, dimensions=4)
    assert [asked] == vendor.embedded


def test_what_is_counted_is_masked_and_may_be_refused():
    """A vendor that counts tokens reads the request."""
    vendor = Counting()
    with Dispatcher(Config(guards=[PersonalDataGuard(kinds=["email"])])) as dispatcher:
        dispatcher.register_vendor(vendor)
        dispatcher.count_tokens(Request("m", MAIL))
    with Dispatcher(Config(guards=[PatternGuard(pattern="bob")])) as dispatcher:
        dispatcher.register_vendor(vendor)
        for ask in (dispatcher.count_tokens, dispatcher.send, lambda request: dispatcher.embed("m", request.messages[0].text)):
            with pytest.raises(ContentFiltered):
                ask(Request("m", MAIL))

    assert (["[email]"], [], []) == ([request.messages[0].text for request in vendor.counted], vendor.embedded, vendor.seen)


def test_a_guard_of_ones_own_sees_texts_to_embed_and_returns_as_many():
    """As parts of one message; anything else would put vectors to the wrong texts."""
    vendor = Counting()
    with Dispatcher(Config(guards=[Shouting()])) as dispatcher:
        dispatcher.register_vendor(vendor)
        dispatcher.embed("m", "hello")
        with pytest.raises(ConfigError, match="guards: they make 1 texts to embed of 2"):
            dispatcher.embed("m", ["hello", "there"])

    assert ["HELLO"] == [text for request in vendor.embedded for text in request.texts]


@pytest.mark.parametrize(
    ("arguments", "masked"),
    [
        ('{"card": 4111111111111111, "n": 1}', '{"card": "[card]", "n": 1}'),
        ('{"to": "bob\\u0040example.com"}', '{"to": "[email]"}'),
        ('{"bob@example.com": [{"a": "bob@example.com"}]}', '{"[email]": [{"a": "[email]"}]}'),
        ('{"a": "bob@example.com", "a": 1}', '{"a": "[email]", "a": 1}'),
        ('{"to": "bob@example.com', '{"to": "[email]'),
    ],
)
def test_masked_arguments_of_an_answer_are_still_json(arguments, masked):
    """They are masked within their strings, names and numbers; as text only where they are no JSON."""
    answer = Response(tool_calls=(ToolCall(name="f", arguments=arguments),))

    assert masked == after([PersonalDataGuard(where="both")], Request("m", "a"), answer).tool_calls[0].arguments


def test_what_is_masked_across_json_is_refused():
    """Without it nothing could be read."""
    answer = Response(tool_calls=(ToolCall(name="f", arguments='{"key": "abc"}'),))
    with pytest.raises(ContentFiltered, match="is none without it"):
        after([PatternGuard(pattern='"key": "abc"', action="mask")], Request("m", "a"), answer)


def test_masked_texts_stay_in_their_places():
    """Parts are made one only where what is masked goes across them."""
    call = ToolCall(name="f", arguments="{}")
    parts = (TextPart(text="a@b.ch "), call, TextPart(text="c"))
    guard = PersonalDataGuard(where="both")
    answer = after([guard], Request("m", "a"), Response(content="a@b.ch c", parts=parts, tool_calls=(call,)))

    assert (TextPart(text="[email] "), call, TextPart(text="c")) == answer.parts


@pytest.mark.parametrize("guard", [SchemaGuard(schema={"type": "object"}), MaxLengthGuard(response=2)])
@pytest.mark.parametrize("further", [{"content": "hello"}, {"content": "{}"}])
def test_all_choices_are_checked(guard, further):
    """Not the first alone."""
    answer = Response(content="{}", other_choices=(Choice(index=1, **further),))
    if further["content"] == "{}":
        assert after([guard], Request("m", "a"), answer) is answer
    else:
        with pytest.raises(ContentFiltered):
            after([guard], Request("m", "a"), answer)


def test_a_length_counts_what_is_said_in_sound():
    """In both directions."""
    sound = AudioPart(data=b"RIFF", format="wav", transcript="12345")
    guard = MaxLengthGuard(request=4, response=4)
    with pytest.raises(ContentFiltered, match="the conversation has 5"):
        before([guard], Request("m", [Message.user(sound)]))
    with pytest.raises(ContentFiltered, match="the answer has 5"):
        after([guard], Request("m", "a"), Response(parts=(sound,)))
