"""Texts become vectors, whoever makes them."""

import base64
import json
import struct

import pytest

from llmdispatcher import EmbeddingRequest, Embeddings, InvalidRequest, MalformedReply, ModelNotFound, Usage
from llmdispatcher.wire import EMBEDDING_CODECS
from llmdispatcher.wire.embeddings import GEMINI_EMBEDDINGS, OLLAMA_EMBEDDINGS, OPENAI_EMBEDDINGS

from ..cases import each
from .corpus import differing, needs_corpus, recorded
from .small_apis import EMBEDDING_FORMATS, embedding_request

EVERY_CODEC = each("codec", [OPENAI_EMBEDDINGS, GEMINI_EMBEDDINGS, OLLAMA_EMBEDDINGS])
ONE = EmbeddingRequest("m", "Hi")
TWO = EmbeddingRequest("m", ["a", "b"])
VECTORS = ((0.5, -1.0), (2.0, 0.25))


def sent(codec, request):
    """What is sent for a request."""
    return json.loads(codec.encode(request))


def openai(*embeddings, **fields):
    """An answer in OpenAI's form."""
    data = [{"object": "embedding", "index": place, "embedding": each} for place, each in enumerate(embeddings)]
    return json.dumps({"data": data, "model": "m", "usage": {"prompt_tokens": 3, "total_tokens": 3}, **fields}).encode()


def wide(*numbers):
    """Numbers of four bytes, in base64."""
    return base64.b64encode(struct.pack(f"<{len(numbers)}f", *numbers)).decode()


def asked():
    """Every recorded request for vectors."""
    return [exchange for (api, _), found in recorded().items() if api in EMBEDDING_FORMATS for exchange in found]


def normal(body):
    """A text is a list of one; dimensions have two names; a text for Google is the user's."""
    fields = {name: value for name, value in body.items() if value is not None}
    if isinstance(fields.get("input"), str):
        fields["input"] = [fields["input"]]
    if "output_dimension" in fields:
        fields["dimensions"] = fields.pop("output_dimension")
    for entry in fields.get("requests", ()):
        entry["content"].pop("role", None)
    return fields


def unlike(exchange):
    """How a request differs after it was read and written, empty where it does not."""
    body = exchange["request"]["json"]
    try:
        again = sent(EMBEDDING_CODECS[EMBEDDING_FORMATS[exchange["api"]]], embedding_request(exchange))
    except InvalidRequest as error:
        return "" if exchange["response"]["status"] == 400 else repr(error)
    one, other = normal(body), normal(again)
    return differing(one, other)


@needs_corpus
def test_every_recorded_request_is_written_as_it_was_read(capsys):
    """Nothing that a client said is lost or changed on the way to a vendor of the same format."""
    wrong = [f"{exchange['id']}: {problem}" for exchange in asked() if (problem := unlike(exchange))]
    with capsys.disabled():
        print(f"\nembeddings: {len(asked()) - len(wrong)} of {len(asked())} requests")

    assert [] == wrong


def test_openai_is_asked_with_a_list():
    """With the length and the user's name where they were said."""
    request = EmbeddingRequest("m", ["a", "b"], dimensions=8, user="me", extra_params={"encoding_format": "float"})

    assert {"model": "m", "input": ["a", "b"], "dimensions": 8, "user": "me", "encoding_format": "float"} == sent(
        OPENAI_EMBEDDINGS, request
    )


def test_google_is_asked_with_a_batch():
    """Each text is a request of its own, with all that was said."""
    request = EmbeddingRequest("m", ["a", "b"], dimensions=8, extra_params={"taskType": "RETRIEVAL_QUERY"})

    assert "/models/m:batchEmbedContents" == GEMINI_EMBEDDINGS.path("m")
    assert [
        {"model": "models/m", "content": {"parts": [{"text": text}]}, "outputDimensionality": 8, "taskType": "RETRIEVAL_QUERY"}
        for text in ("a", "b")
    ] == sent(GEMINI_EMBEDDINGS, request)["requests"]


def test_ollama_is_asked_with_a_list():
    """Further fields come as they are."""
    request = EmbeddingRequest("m", "a", dimensions=8, extra_params={"keep_alive": "5m"})

    assert {"model": "m", "input": ["a"], "dimensions": 8, "keep_alive": "5m"} == sent(OLLAMA_EMBEDDINGS, request)


@EVERY_CODEC
def test_what_a_codec_writes_it_reads(codec):
    """Requests as well as answers."""
    request = EmbeddingRequest("m", ["a", "b"], dimensions=2)
    read = codec.read_request(codec.encode(request), codec.path("m"))
    answer = Embeddings(vectors=VECTORS, model="m", usage=Usage(input_tokens=7))
    seen = codec.decode(codec.write_response(answer, read), read)

    assert (request.model, request.texts, request.dimensions) == (read.model, read.texts, read.dimensions)
    assert (VECTORS, "m", 7) == (seen.vectors, seen.model, seen.usage.input_tokens)


def test_base64_is_written_where_it_was_asked_for():
    """Most SDKs do."""
    read = OPENAI_EMBEDDINGS.read_request(b'{"model": "m", "input": ["a", "b"], "encoding_format": "base64"}')
    body = OPENAI_EMBEDDINGS.write_response(Embeddings(vectors=VECTORS), read)

    assert [wide(*each) for each in VECTORS] == [entry["embedding"] for entry in json.loads(body)["data"]]
    assert VECTORS == OPENAI_EMBEDDINGS.decode(body, read).vectors


def test_vectors_come_in_the_order_of_the_texts():
    """Whatever their order in the answer."""
    data = [{"index": 1, "embedding": [2]}, {"index": 0, "embedding": [1]}]

    assert ((1.0,), (2.0,)) == OPENAI_EMBEDDINGS.decode(openai(data=data), TWO).vectors


@each(
    "encoded, fields, vector",
    [
        (wide(0.5, -1), {"extra_params": {"encoding_format": "base64"}}, (0.5, -1.0)),
        (wide(0.5, -1), {"dimensions": 2}, (0.5, -1.0)),
        (base64.b64encode(b"\x01\xff\x80\x7f").decode(), {}, (1.0, -1.0, -128.0, 127.0)),
        (base64.b64encode(b"\x01\xff").decode(), {"dimensions": 2}, (1.0, -1.0)),
        (base64.b64encode(b"\x01\xff\x01\x02").decode(), {"extra_params": {"encoding_format": "base64_int8"}}, (1, -1, 1, 2)),
    ],
)
def test_bytes_are_numbers(encoded, fields, vector):
    """Of four bytes where those were asked for, of one where a vendor sends bytes unasked."""
    assert vector == OPENAI_EMBEDDINGS.decode(openai(encoded), EmbeddingRequest("m", "Hi", **fields)).vectors[0]


@each("embedding", [None, [], "", "%", wide(0.5)[:3], [None], ["1"], [[1]], [10**400], {"a": 1}, [1e999]])
def test_what_is_no_vector_is_malformed(embedding):
    """Never a wrong number."""
    request = EmbeddingRequest("m", "Hi", extra_params={"encoding_format": "base64"})
    with pytest.raises(MalformedReply):
        OPENAI_EMBEDDINGS.decode(openai(embedding), request)


def test_numbers_that_are_none_are_malformed():
    """Base64 can hold what JSON cannot."""
    with pytest.raises(MalformedReply):
        OPENAI_EMBEDDINGS.decode(
            openai(wide(float("nan"))), EmbeddingRequest("m", "Hi", extra_params={"encoding_format": "base64"})
        )


@EVERY_CODEC
@each("body", [b"", b"{}", b"[]", b"null", b"<html>", b'{"data": {}, "embeddings": {}}', b'{"data": [1]}'])
def test_what_is_no_answer_is_malformed(codec, body):
    """Whatever the bytes."""
    with pytest.raises(MalformedReply):
        codec.decode(body, ONE)


@EVERY_CODEC
def test_a_vector_for_each_text(codec):
    """A missing one would shift all that follow."""
    body = codec.write_response(Embeddings(vectors=VECTORS), ONE)
    with pytest.raises(MalformedReply, match="2 vectors for 1 texts"):
        codec.decode(body, ONE)


@EVERY_CODEC
def test_an_error_in_place_of_an_answer_is_raised(codec):
    """A 200 proves nothing."""
    with pytest.raises(ModelNotFound):
        codec.decode(b'{"error": {"message": "no such model", "code": 404}}', ONE)


def test_a_vendor_may_say_what_it_cost():
    """As a number, as a text of one, or as an object with a currency."""
    costs = [0.25, {"currency": "USD", "total_cost": 0.25}, {"currency": "EUR", "total_cost": 0.25}, True, "1"]
    found = [OPENAI_EMBEDDINGS.decode(openai([1], usage={"prompt_tokens": 1, "cost": cost}), ONE).usage.cost for cost in costs]

    assert ["0.25", "0.25", "None", "None", "1"] == [str(cost) for cost in found]


def test_a_single_text_of_google_is_read():
    """Request and answer, beside batches."""
    request = GEMINI_EMBEDDINGS.read_request(
        b'{"content": {"parts": [{"text": "a"}, {"text": "b"}]}, "taskType": "CLUSTERING"}', "/v1beta/models/m:embedContent"
    )

    assert ("m", ("ab",), {"taskType": "CLUSTERING"}) == (request.model, request.texts, request.extra_params)
    assert ((0.5,),) == GEMINI_EMBEDDINGS.decode(b'{"embedding": {"values": [0.5]}}', request).vectors


def test_a_batch_whose_texts_have_settings_of_their_own_is_kept_whole():
    """There is no place for them in ours."""
    body = {"requests": [{"model": "models/m", "content": {"parts": [{"text": text}]}, "title": text} for text in "ab"]}
    read = GEMINI_EMBEDDINGS.read_request(json.dumps(body).encode(), "/v1/models/m:batchEmbedContents")

    assert body == sent(GEMINI_EMBEDDINGS, read)


@each("given", [[1, 2], [[1, 2], [3]]])
def test_tokens_are_passed_on_as_they_are(given):
    """One format takes them; no other does."""
    read = OPENAI_EMBEDDINGS.read_request(json.dumps({"model": "m", "input": given}).encode())

    assert given == sent(OPENAI_EMBEDDINGS, read)["input"]
    for codec in (GEMINI_EMBEDDINGS, OLLAMA_EMBEDDINGS):
        with pytest.raises(InvalidRequest, match="input"):
            codec.encode(read)


@each(
    "body, name",
    [
        (b"", "body"),
        (b"[]", "body"),
        (b'{"model": "m"}', "input"),
        (b'{"model": "m", "input": []}', "input"),
        (b'{"model": 7, "input": "a"}', "model"),
        (b'{"input": "a", "model": "m", "dimensions": "8"}', "dimensions"),
        (b'{"input": "a", "model": "m", "dimensions": -42}', "dimensions"),
        (b'{"input": "a", "model": "m", "dimensions": true}', "dimensions"),
    ],
)
def test_what_is_no_request_is_named(body, name):
    """The field, what it is, and what it should be."""
    with pytest.raises(InvalidRequest) as caught:
        OPENAI_EMBEDDINGS.read_request(body)

    assert name == str(caught.value).partition(":")[0]


@each("body", [b'{"requests": 7}', b'{"requests": [7]}', b'{"requests": []}'])
def test_what_is_no_batch_is_named(body):
    """As above."""
    with pytest.raises(InvalidRequest):
        GEMINI_EMBEDDINGS.read_request(body)


@each("fields", [{"model": ""}, {"texts": []}, {"texts": [1]}, {"texts": None}, {"dimensions": 0}, {"extra_params": []}])
def test_a_wrong_request_is_named(fields):
    """When it is made, not when it is sent."""
    name = next(iter(fields))
    with pytest.raises(InvalidRequest, match=f"^{name}"):
        EmbeddingRequest(**{"model": "m", "texts": ["a"], **fields})


def test_many_texts_are_several_requests_and_one_answer():
    """In their order, and all that they took."""
    request = EmbeddingRequest("m", ["a", "b", "c"], dimensions=1)
    batches = request.batches(2)
    pieces = [Embeddings(vectors=((1.0,),) * len(batch.texts), model="m", usage=Usage(input_tokens=2)) for batch in batches]
    joined = Embeddings.join(pieces)

    assert [("a", "b"), ("c",)] == [batch.texts for batch in batches]
    assert (3, 4, "m") == (len(joined.vectors), joined.usage.input_tokens, joined.model)
    assert (request,) == request.batches(3)


@EVERY_CODEC
def test_what_is_no_json_is_refused(codec):
    """Before it is sent, and as a fault of the request."""
    with pytest.raises(InvalidRequest, match="JSON"):
        codec.encode(EmbeddingRequest("m", "a", extra_params={"x": float("nan")}))


def test_mistral_has_its_own_word_for_the_dimensions():
    """Whichever of both words a client uses, it is sent once, in the word of the vendor that is asked."""
    for body in (b'{"model": "m", "input": "a", "output_dimension": 8}', b'{"model": "m", "input": "a", "dimensions": 8}'):
        for kind, word in (("mistral", "output_dimension"), ("openai_chat", "dimensions")):
            asked = EMBEDDING_CODECS["openai_chat"].read_request(body)

            assert {"model": "m", "input": ["a"], word: 8} == sent(EMBEDDING_CODECS[kind], asked)
    both = EMBEDDING_CODECS["openai_chat"].read_request(b'{"input": "a", "dimensions": 8, "output_dimension": 8}')

    assert {} == both.extra_params


IN_ORDER = {
    "texts": [{"index": "1", "embedding": [2.0]}, {"index": "0", "embedding": [1.0]}],
    "floats": [{"index": 1.0, "embedding": [2.0]}, {"index": 0.0, "embedding": [1.0]}],
    "a zero that is absent": [{"index": 1, "embedding": [2.0]}, {"embedding": [1.0]}],
    "none": [{"embedding": [1.0]}, {"embedding": [2.0]}],
    "all the same": [{"index": 0, "embedding": [1.0]}, {"index": 0, "embedding": [2.0]}],
    "words": [{"index": "a", "embedding": [1.0]}, {"index": "b", "embedding": [2.0]}],
}


@each("entries", IN_ORDER)
def test_each_text_gets_its_own_vector(entries):
    """By its index in whatever form; where those tell nothing, in the order of the list."""
    answer = OPENAI_EMBEDDINGS.decode(json.dumps({"data": entries}).encode(), EmbeddingRequest("m", ["a", "b"]))
    assert ((1.0,), (2.0,)) == answer.vectors


@each(
    "document", [{"embeddings": [[1.0]]}, {"embedding": [1.0]}, {"embedding": {"values": [1.0]}}, {"data": [{"embedding": [1.0]}]}]
)
@each("codec", EMBEDDING_CODECS)
def test_vectors_in_the_shape_of_another_format(codec, document):
    """A gateway, or a server of old."""
    assert ((1.0,),) == codec.decode(json.dumps(document).encode(), EmbeddingRequest("m", ["a"])).vectors


@each("usage", [{"input_tokens": 3}, {"promptTokens": 3}, {"prompt_tokens": "3"}, {"total_tokens": 3}])
def test_usage_of_embeddings_in_other_words(usage):
    """As in other answers."""
    body = json.dumps({"data": [{"embedding": [1.0]}], "usage": usage}).encode()
    assert 3 == OPENAI_EMBEDDINGS.decode(body, EmbeddingRequest("m", ["a"])).usage.input_tokens


@each("nothing", [None, 0, 0.0, "", False, [], {}])
@each("name", ["openai_chat", "ollama_chat", "gemini"])
def test_a_setting_that_says_nothing_is_absent(name, nothing):
    """Clients in typed languages write zero for what nobody asked for, and it is passed on to nobody."""
    codec, field = EMBEDDING_CODECS[name], "outputDimensionality" if name == "gemini" else "dimensions"
    asked = {"content": {"parts": [{"text": "a"}]}} if name == "gemini" else {"model": "m", "input": ["a"], "user": nothing}
    request = codec.read_request(json.dumps({**asked, field: nothing}).encode(), "/v1beta/models/m:embedContent")

    assert (("a",), None, None) == (request.texts, request.dimensions, request.user)
