"""``extra_params`` replace nothing that a request says itself, and what they say of limits is seen."""

from __future__ import annotations

import json

import pytest

from llmdispatcher import EmbeddingRequest, InvalidRequest, Request
from llmdispatcher.types import FIXED, TokenLimits, stored_param, texts_in, unseen_model
from llmdispatcher.wire import CODECS

from ..cases import each


@each("name", sorted(FIXED))
def test_what_a_request_says_itself_cannot_be_replaced(name):
    """By whichever name a format has for it; nothing is sent."""
    for made in (
        lambda: Request("m", "hi", extra_params={name: "x"}),
        lambda: EmbeddingRequest("m", "hi", extra_params={name: "x"}),
    ):
        with pytest.raises(InvalidRequest, match=f"^extra_params: '{name}' is what the request itself says; "):
            made()


@each("name", ["Model", "MESSAGES", "Stream", "System_Instruction", "\u017ftream"])
def test_names_in_any_case_are_replaced_neither(name):
    """Servers that are written in Go read them, and the last one counts."""
    with pytest.raises(InvalidRequest, match="is what the request itself says; "):
        Request("m", "hi", extra_params={name: "x"})


REPLACING = [
    (
        {"models": ["openai/gpt-5-pro"]},
        "models",
        "give the request another model, or name others by fallback_model; it is ['openai/",
    ),
    ({"route": "fallback"}, "route", "give the request another model"),
    ({"preset": "my-preset"}, "preset", "give the request another model, or name others by fallback_model; it is 'my-preset'"),
    ({"fallbacks": [{"m": "x"}]}, "fallbacks", "give the request another model"),
    ({"providerOptions": {"gateway": {"models": ["x"]}}}, "providerOptions.gateway.models", "give the request another model"),
    ({"default_model": "x"}, "default_model", "give the request another model"),
    *[({group: {"model": "x"}}, f"{group}.model", "give the request another model") for group in ("request", "body", "payload")],
    ({"modelId": "x"}, "modelId", "give the request another model"),
    ({"extra_body": {"model": "gpt-5-pro"}}, "extra_body.model", "give the request another model"),
    ({"extraBody": {"extra_body": {"Models": ["x"]}}}, "extraBody.extra_body.Models", "give the request another model"),
    ({"extra_body": [{"messages": ["secret"]}]}, "extra_body.messages", "give it as messages, or as texts"),
    ({"extra_body": {"google": {"system_instruction": "secret"}}}, "extra_body.google.system_instruction", "give it as messages"),
    ({"options": {"stream": True}}, "options.stream", "call send_streaming()"),
    (
        {"generationConfig": {"routingConfig": {"manualMode": {"modelName": "x"}}}},
        "generationConfig.routingConfig",
        "give the request",
    ),
    ({"system-prompt": "secret"}, "system-prompt", "give it as messages"),
    ({"prompt": "secret"}, "prompt", "give it as messages"),
    ({"prompt": ["secret"]}, "prompt", "give it as messages"),
    ({"inputs": "secret"}, "inputs", "give it as messages"),
    ({"extra_headers": {"Authorization": "secret"}}, "extra_headers", "give headers to the request itself, or to the vendor"),
    ({"headers": {"x-api-key": "secret"}}, "headers", "give headers to the request itself, or to the vendor"),
    ({"extra_query": {"api-version": "secret"}}, "extra_query", "give api_version to the vendor"),
]


@each("params, path, remedy", REPLACING)
def test_nothing_is_replaced_by_another_name_or_in_a_group(params, path, remedy):
    """Field and remedy are told, and the value where it is no content and no secret."""
    for kind in (Request, EmbeddingRequest):
        with pytest.raises(InvalidRequest) as caught:
            kind("m", "hi", extra_params=params)

        assert str(caught.value).startswith(f"extra_params: {path!r} is what the request itself says; {remedy}")
        assert "secret" not in str(caught.value)


@each("params", [{"Model": "x"}, {"MESSAGES": []}, {"\u017ftream": True}])
def test_a_request_that_came_over_a_wire_replaces_nothing_that_is_written(params):
    """In no case and spelling."""
    request = Request("m", "hi", extra_params=params, wire_format="openai_chat")
    with pytest.raises(InvalidRequest, match=r"^extra_params: "):
        CODECS["openai_chat"].encode(request, stream=True)


@each(
    "params",
    [
        {"metadata": {"model": "x", "system": "y"}},
        {"tools": [{"type": "image_generation", "model": "gpt-image-1"}]},
        {"functions": [{"name": "f", "parameters": {"properties": {"model": {}, "prompt": {}, "input": {}}}}]},
        {"prompt": {"id": "pmpt_1"}},
        {"provider": {"order": ["x"]}, "prediction": {"type": "content", "content": "x"}},
        {"stream_options": {"include_usage": True}},
        {"previous_response_id": "resp_1"},
        {"extra_body": {"google": {"cached_content": "c"}}},
    ],
)
def test_other_things_of_those_names_are_passed_on(params):
    """A tool's model is another one; what the vendor stores is a feature of its own."""
    assert params == Request("m", "hi", extra_params=params).extra_params


def test_params_that_go_round_in_a_circle_end():
    """They are refused when they are written."""
    params: dict = {}
    params["options"] = params
    request = Request("m", "hi", extra_params=params)

    assert () == TokenLimits.of(params).others
    with pytest.raises(InvalidRequest, match="cannot be written as JSON"):
        CODECS["openai_chat"].encode(request, stream=False)


@each(
    "params, name",
    [({"models": ["x"]}, "models"), ({"extra_body": {"model": "x"}}, "extra_body.model"), ({"models": None, "provider": {}}, None)],
)
def test_models_that_came_over_a_wire_are_seen(params, name):
    """They are their sender's, and their prices are not known."""
    assert name == unseen_model(Request("m", "hi", extra_params=params, wire_format="openai_chat").extra_params)


@each(
    "params, name",
    [
        ({"previous_response_id": "r"}, "previous_response_id"),
        ({"previousResponseId": "r"}, "previousResponseId"),
        ({"conversation": {"id": "c"}}, "conversation"),
        ({"cachedContent": "c"}, "cachedContent"),
        ({"extra_body": {"google": {"cached_content": "c"}}}, "extra_body.google.cached_content"),
        ({"container": "c"}, "container"),
        ({"prompt": {"id": "p"}}, "prompt"),
        ({"previous_response_id": None, "seed": 1, "metadata": {"conversation": "c"}}, None),
        ({}, None),
    ],
)
def test_what_a_vendor_stores_is_known_in_every_spelling(params, name):
    """Null stores nothing, and metadata says nothing."""
    assert name == stored_param(params)


@each(
    "params, length",
    [
        ({"seed": 7}, 0),
        ({"suffix": "abcd"}, 4),
        ({"tools": [{"name": "abc", "more": ("de", None)}]}, 13),
        ({"a": {"b": {"c": "d"}}}, 3),
    ],
)
def test_all_texts_count(params, length):
    """With the names inside of values, which are sent too."""
    assert length == sum(map(len, texts_in(params)))


@each("text", ["+100000", " 100000 ", "100000.0", "1_000_00", "1e5"])
def test_numbers_that_lenient_servers_read_are_numbers(text):
    """They count as limits and as a number of answers."""
    said = TokenLimits.of({"max_tokens": text, "n": text})

    assert ((100_000,), 100_000) == (said.limits, said.answers)


def test_a_limit_of_none_takes_the_limit_away():
    """It is sent as null, in place of the request's own."""
    assert None is TokenLimits.of({"max_tokens": None}).most(10)


@each("codec", [codec for codec in CODECS.values() if hasattr(codec, "encode")])
@each("stream", [False, True])
def test_no_format_lets_a_part_of_its_body_be_replaced(codec, stream):
    """Also for a request that claims to have been read from it."""
    plain = json.loads(codec.encode(Request("m", "hi", max_tokens=5), stream=stream))
    fixed = plain.keys() & FIXED
    for name in fixed:
        request = Request("m", "hi", max_tokens=5, extra_params={name: "x"}, wire_format=codec.name)
        with pytest.raises(InvalidRequest, match="extra_params"):
            codec.encode(request, stream=stream)
    assert fixed


@each(
    "params, limits, answers",
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
        ({"n": True}, (), 1),
        ({"max_tokens": 0}, (-1,), 1),
        ({"max_tokens": False}, (-1,), 1),
        ({"maxTokens": float("inf")}, (-1,), 1),
        ({"max_tokens": "unlimited"}, (-1,), 1),
        ({"max_tokens": ""}, (-1,), 1),
        ({"max_tokens": []}, (-1,), 1),
        ({"max_tokens": "0x100000"}, (-1,), 1),
        ({"extra_body": {"max_tokens": {"v": 1}}}, (-1,), 1),
        ({"max_tokens_to_generate": 7}, (7,), 1),
        ({"maximum_tokens": 7}, (7,), 1),
        ({"tokens_to_generate": 7}, (7,), 1),
        ({"max_gen_tokens": 7, "num_completions": 2}, (7,), 2),
        ({"max_response_output_tokens": 7}, (7,), 1),
        *[({group: {"max_tokens": 7}}, (7,), 1) for group in ("request", "body", "payload", "extra")],
        ({"minTokens": 3, "my_max_tokens_note": 4}, (), 1),
    ],
)
def test_limits_and_answers_are_read_in_every_spelling(params, limits, answers):
    """The largest counts; -1 takes the end away."""
    said = TokenLimits.of(params)

    assert (limits, answers) == (tuple(sorted(said.limits)), said.answers)
    assert said.endless == (-1 in limits)


@each(
    "params, max_tokens, most",
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
    assert most == TokenLimits.of(params).most(max_tokens)


CLIENTS = {
    "api_key": "OpenAIVendor(api_key=...)",
    "API-Key": "OpenAIVendor(api_key=...)",
    "azure_ad_token": "api_key=...",
    "base_url": "base_url=...",
    "api_base": "base_url=...",
    "azure_endpoint": "base_url=...",
    "api_version": "api_version to the vendor",
    "default_headers": "headers={...}",
    "organization": "headers={...}",
    "timeout": "Config(timeout=...)",
    "request_timeout": "timeout= to the call",
    "max_retries": "retry_policy",
    "num_retries": "retry_policy",
    "http_client": "HTTPS_PROXY",
    "aws_secret_access_key": "give it to the vendor",
    "vertex_project": "give it to the vendor",
    "custom_llm_provider": "'vendor:model'",
    "drop_params": "drop_params=True to the request",
}


@each("name", list(CLIENTS))
@each("kind", [Request, EmbeddingRequest])
def test_settings_of_a_client_are_not_posted(kind, name):
    """At the top or in a group; the error says where they go, and never what they are."""
    for params in ({name: "sesame"}, {"extra_body": {name: "sesame"}}):
        with pytest.raises(InvalidRequest, match="is no setting of a model") as caught:
            kind("m", "hi", extra_params=params)

        assert CLIENTS[name] in str(caught.value)
        assert "sesame" not in str(caught.value)


CONTRADICTIONS = [
    ({"max_tokens": 5}, {"max_tokens": 9999}),
    ({"max_tokens": 5}, {"max_tokens": None}),
    ({"max_tokens": 5}, {"max_completion_tokens": 9999}),
    ({"max_tokens": 5}, {"generationConfig": {"maxOutputTokens": 9999}}),
    ({"max_tokens": 5}, {"options": {"num_predict": -1}}),
    ({"temperature": 0.0}, {"temperature": 1}),
    ({"top_p": 0.5}, {"topP": 0.6}),
    ({"top_k": 1}, {"top_k": 2}),
    ({"frequency_penalty": 0}, {"frequency_penalty": 1}),
    ({"presence_penalty": 0}, {"presencePenalty": 1}),
    ({"seed": 1}, {"seed": 2}),
    ({"n": 1}, {"candidate_count": 2}),
    ({"logprobs": False}, {"logprobs": True}),
    ({"logprobs": True}, {"logprobs": 1}),
    ({"top_logprobs": 1}, {"top_logprobs": 2}),
    ({"stop": "a"}, {"stop_sequences": ["b"]}),
    ({"user": "a"}, {"user": "b"}),
    ({"tools": [{"name": "f"}]}, {"tools": []}),
    ({"tool_choice": "auto"}, {"tool_choice": "none"}),
    ({"parallel_tool_calls": True}, {"parallel_tool_calls": False}),
    ({"response_format": {"type": "json_object"}}, {"response_format": {"type": "text"}}),
    ({"response_format": {"type": "json_object"}}, {"text": {"format": {"type": "text"}}}),
    ({"reasoning_effort": "low"}, {"reasoning": {"effort": "high"}}),
    ({"reasoning_effort": "low"}, {"reasoning_effort": "high"}),
    ({"reasoning_tokens": 9}, {"thinking": {"type": "enabled", "budget_tokens": 10}}),
    ({"reasoning_summary": "auto"}, {"reasoning": {"summary": "none"}}),
    ({"prompt_cache_key": "a"}, {"prompt_cache_key": "b"}),
    ({"service_tier": "a"}, {"serviceTier": "b"}),
]


@each("fields, params", CONTRADICTIONS)
def test_a_setting_that_contradicts_a_field_is_refused(fields, params):
    """By whichever name, and in a group; the field is named. Where the field is not set, the setting is sent."""
    assert params == Request("m", "hi", extra_params=params).extra_params
    with pytest.raises(InvalidRequest, match=f"contradicts {next(iter(fields))}= of the request"):
        Request("m", "hi", **fields, extra_params=params)


def test_a_setting_that_says_the_same_is_sent():
    """It contradicts nothing; a list may be one text."""
    params = {"max_completion_tokens": 5, "temperature": 0, "stop": "a", "user": "u", "text": {"verbosity": "low"}}

    assert params == Request("m", "hi", max_tokens=5, temperature=0.0, stop=["a"], user="u", extra_params=params).extra_params


@each("fields, params", [({"user": "a"}, {"user": "b"}), ({"dimensions": 3}, {"outputDimensionality": 4})])
def test_settings_of_embeddings_contradict_no_field(fields, params):
    """They have fields of their own."""
    with pytest.raises(InvalidRequest, match="contradicts"):
        EmbeddingRequest("m", "hi", **fields, extra_params=params)
