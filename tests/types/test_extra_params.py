"""``extra_params`` replace nothing that a request says itself, and what they say of limits is seen."""

from __future__ import annotations

import json

import pytest

from llmdispatcher import EmbeddingRequest, InvalidRequest, Request
from llmdispatcher.types import FIXED, Said
from llmdispatcher.wire import CODECS


@pytest.mark.parametrize("name", sorted(FIXED))
def test_what_a_request_says_itself_cannot_be_replaced(name):
    """By whichever name a format has for it; nothing is sent."""
    for made in (
        lambda: Request("m", "hi", extra_params={name: "x"}),
        lambda: EmbeddingRequest("m", "hi", extra_params={name: "x"}),
    ):
        with pytest.raises(InvalidRequest, match=f"^extra_params: '{name}' is what the request itself says; "):
            made()


@pytest.mark.parametrize("name", ["Model", "MESSAGES", "Stream", "System_Instruction", "\u017ftream"])
def test_names_in_any_case_are_replaced_neither(name):
    """Servers that are written in Go read them, and the last one counts."""
    with pytest.raises(InvalidRequest, match="is what the request itself says; "):
        Request("m", "hi", extra_params={name: "x"})


@pytest.mark.parametrize("text", ["+100000", " 100000 ", "100000.0", "1_000_00", "1e5"])
def test_numbers_that_lenient_servers_read_are_numbers(text):
    """They count as limits and as a number of answers."""
    said = Said.of({"max_tokens": text, "n": text})

    assert ((100_000,), 100_000) == (said.limits, said.answers)


def test_a_limit_of_none_takes_the_limit_away():
    """It is sent as null, in place of the request's own."""
    assert None is Said.of({"max_tokens": None}).most(10)


@pytest.mark.parametrize("codec", [codec for codec in CODECS.values() if hasattr(codec, "encode")], ids=lambda codec: codec.name)
@pytest.mark.parametrize("stream", [False, True])
def test_no_format_lets_a_part_of_its_body_be_replaced(codec, stream):
    """Also for a request that claims to have been read from it."""
    plain = json.loads(codec.encode(Request("m", "hi", max_tokens=5), stream=stream))
    fixed = plain.keys() & FIXED
    for name in fixed:
        request = Request("m", "hi", max_tokens=5, extra_params={name: "x"}, wire_format=codec.name)
        with pytest.raises(InvalidRequest, match="extra_params"):
            codec.encode(request, stream=stream)
    assert fixed


@pytest.mark.parametrize(
    ("params", "limits", "answers"),
    [
        ({}, (), 1),
        ({"max_tokens": 7}, (7,), 1),
        ({"max_completion_tokens": 7}, (7,), 1),
        ({"max_completion_tokens": 10**400}, (10**18,), 1),
        ({"max_output_tokens": "7"}, (7,), 1),
        ({"generationConfig": {"maxOutputTokens": 7, "candidateCount": 3}}, (7,), 3),
        ({"generation_config": {"max_output_tokens": 7.0, "candidate_count": 3}}, (7,), 3),
        ({"options": {"num_predict": 7}}, (7,), 1),
        ({"options": {"num_predict": -1}}, (-1,), 1),
        ({"n_predict": 7}, (7,), 1),
        ({"inferenceConfig": {"maxTokens": 7}}, (7,), 1),
        ({"parameters": {"max_new_tokens": 7, "best_of": 4}}, (7,), 4),
        ({"max_tokens": 7, "options": {"max_tokens": 1}}, (1, 7), 1),
        ({"reasoning": {"max_tokens": 7}, "metadata": {"max_tokens": "7", "n": "500"}}, (), 1),
        ({"n": 5, "options": [{"n": 9}]}, (), 9),
        ({"n": True, "max_output_tokens": "many", "maxTokens": float("inf")}, (), 1),
        ({"minTokens": 3, "my_max_tokens_note": 4}, (), 1),
    ],
)
def test_limits_and_answers_are_read_in_every_spelling(params, limits, answers):
    """The largest counts; -1 takes the end away."""
    said = Said.of(params)

    assert (limits, answers) == (tuple(sorted(said.limits)), said.answers)
    assert said.endless == (-1 in limits)


@pytest.mark.parametrize(
    ("params", "max_tokens", "most"),
    [
        ({}, None, None),
        ({}, 0, 0),
        ({"seed": 9}, 5, 5),
        ({"max_completion_tokens": 7}, None, 7),
        ({"max_completion_tokens": 7}, 9, 9),
        ({"num_predict": -1}, 9, None),
        ({"thinking": {"budget_tokens": 7}}, None, None),
    ],
)
def test_the_largest_limit_counts(params, max_tokens, most):
    """Of the request and of its parameters; none where one of them takes the end away."""
    assert most == Said.of(params).most(max_tokens)
