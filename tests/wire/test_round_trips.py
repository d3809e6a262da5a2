"""What was recorded is written as it was read: requests towards a vendor of the same format, answers towards its clients."""

import json

import attrs

from llmdispatcher import DispatchError, InvalidRequest, ReasoningPart, TextPart, ToolCall
from llmdispatcher.types import fold, unfold
from llmdispatcher.wire import CODECS
from llmdispatcher.wire.openai_chat.fields import openai_tier

from ..cases import each
from . import equivalences
from .corpus import CODEC_OF, again, body_of, differing, needs_corpus, plainly, recorded, streamed, through

pytestmark = needs_corpus
FORMATS = each("codec", CODECS)


REQUESTS = {**CODEC_OF, "responses_input_tokens": "openai_responses", "responses_compact": "openai_responses"}


def exchanges_of(codec, formats=CODEC_OF):
    """Every exchange of a format."""
    return [exchange for (api, _), found in recorded().items() if formats.get(api) == codec.name for exchange in found]


def unlike(codec, exchange):
    """How a request differs after it was read and written, empty where it does not; what its vendor refused may be refused."""
    asked, path = exchange["request"]["json"], exchange["request"]["path"]
    try:
        inbound = codec.read_request(json.dumps(asked).encode(), path)
        sent = json.loads(codec.encode(inbound.request, stream=inbound.stream))
    except InvalidRequest as error:
        return "" if exchange["response"]["status"] == 400 else repr(error)
    if codec.name == "gemini" and (
        inbound.stream != (":streamGenerateContent" in path) or f"models/{inbound.request.model}:" not in path
    ):
        return f"{path} is read as {inbound.request.model}, stream: {inbound.stream}"
    one, other = (getattr(equivalences, codec.name)(said) for said in (asked, sent))
    if "model" not in one:  # Azure's is in the path
        other.pop("model", None)
    return differing(one, other)


@FORMATS
def test_a_recorded_request_is_written_as_it_was_read(codec):
    """Nothing that a client said is lost, changed or made up."""
    asked = exchanges_of(codec, REQUESTS)

    assert asked
    assert {} == {exchange["id"]: problem for exchange in asked if (problem := unlike(codec, exchange))}


def in_order(response):
    """OpenAI's chat: thoughts, text and calls apart, since the message of a whole answer has no place for their order.

    With what the format wants and some vendors leave out; the end and the service tier in the format's own words.
    """
    fields = [dict(part.extra["openai_chat"]) for part in response.reasoning_parts]
    details = [detail for own in fields for detail in own.get("reasoning_details", ())]
    answer = attrs.evolve(
        plainly(response),
        finish_reason=response.finish_reason or ("tool_calls" if response.tool_calls else "stop"),
        finish_reason_raw=None,
        response_id=response.response_id or "chatcmpl-0",
        service_tier=openai_tier(response.service_tier),
        parts=tuple([part for part in response.parts if not isinstance(part, ReasoningPart | TextPart | ToolCall)]),
    )
    return answer, "".join([part.text for part in response.reasoning_parts]), details


def counted(response):
    """OpenAI's responses: without what a vendor's record of usage has beyond the counts, with the tier that goes without saying."""
    usage = attrs.evolve(response.usage, raw={}, cost=None, cost_status="")
    return attrs.evolve(response, usage=usage, service_tier=openai_tier(response.service_tier) or "default")


def as_objects(response):
    """Anthropic's: arguments as the objects that they are, without what its schema wants and the vendor left out."""
    spelt = {call.id: attrs.evolve(call, arguments=json.dumps(call.parsed or {})) for call in response.tool_calls}
    parts = tuple([spelt[part.id] if isinstance(part, ToolCall) else part for part in response.parts])
    return plainly(attrs.evolve(response, tool_calls=tuple(spelt.values()), parts=parts))


WHOLE = {"openai_chat": in_order, "openai_responses": counted, "anthropic_messages": as_objects}
STREAMED = {**WHOLE, "anthropic_messages": plainly}
"""What equal answers have in common, in one piece and as a stream, where it is not all."""


def chunks_of(codec, exchange):
    """The chunks of a recorded answer; none of one that is an error."""
    decoder, body = codec.decoder(), body_of(exchange)
    try:
        if not streamed(exchange):
            return list(unfold(codec.decode(body)))
        return [*decoder.feed(body), *([] if decoder.done else decoder.finish())]
    except DispatchError:
        return []


def answers(codec):
    """The id and the chunks of every recorded answer that is one."""
    for exchange in exchanges_of(codec):
        if exchange["response"]["status"] == 200 and "error" not in exchange["expect"] and (chunks := chunks_of(codec, exchange)):
            yield exchange["id"], chunks


@FORMATS
def test_a_recorded_answer_is_written_as_it_was_read(codec):
    """All of the canonical answer: in one piece, in the pieces in which it came, and in ours."""
    whole, piecewise = (forms.get(codec.name, lambda answer: answer) for forms in (WHOLE, STREAMED))
    wrong, found = [], list(answers(codec))
    for name, chunks in found:
        said = fold(chunks)
        wrong += [(name, "whole")] if whole(said) != whole(again(codec, said)) else []
        for way, stream in (("as it came", chunks), ("in our pieces", unfold(said))):
            wrong += [(name, way)] if piecewise(said) != piecewise(through(codec, stream)) else []

    assert found
    assert [] == wrong
