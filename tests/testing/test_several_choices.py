"""Requests for several answers: each format that knows them has as many choices, counts all of them, and refuses too many."""

import pytest

from llmdispatcher import Dispatcher, InvalidRequest, Request, Tool, ToolCall, vendor
from llmdispatcher.testing import SimulatedResponse, VendorSimulator
from llmdispatcher.testing.answers import count_tokens

from ..cases import each

MODELS = {"openai": "gpt-4o", "azure": "gpt-4o", "google": "gemini-2.5-flash"}
CALL = ToolCall(name="get_weather", arguments='{"city": "Oslo"}')
TOOLS = [Tool(name="get_weather", parameters={"type": "object", "properties": {"city": {"type": "string"}}})]


def both(kind, simulator, **fields):
    """A whole answer, and one that was streamed."""
    request = Request(MODELS[kind], "What grows in the sea?", **fields)
    with Dispatcher({"retry_policy": {"max_retries": 0}}) as dispatcher:
        dispatcher.register_vendor(vendor(kind, base_url=getattr(simulator, f"{kind}_url"), api_key="k", trust_env=False))
        return [dispatcher.send(request), dispatcher.send_streaming(request).response()]


@each("kind", list(MODELS))
def test_each_choice_has_a_text_of_its_own(kind):
    """Within the limit, counted together, whole and streamed, and the same each time."""
    with VendorSimulator() as simulator:
        for answer in both(kind, simulator, n=3, max_tokens=30):
            texts = [choice.content for choice in answer.choices]
            assert [0, 1, 2] == [choice.index for choice in answer.choices]
            assert (3, True) == (len(set(texts)), all(choice.finish_reason for choice in answer.choices))
            assert sum(map(count_tokens, texts)) == answer.usage.output_tokens <= 90


@each("kind", list(MODELS))
def test_a_script_tells_all_choices_or_the_first(kind):
    """A text stands in each choice; ``others`` are the further ones, with calls of their own ids."""
    script = SimulatedResponse("Kelp.", others=[SimulatedResponse("I look.", tool_calls=CALL), SimulatedResponse("unasked")])
    with VendorSimulator(responses=["Algae.", "Algae.", script, script]) as simulator:
        for answer in both(kind, simulator, n=2):
            assert ["Algae.", "Algae."] == [choice.content for choice in answer.choices]
        for answer in both(kind, simulator, n=2, tools=TOOLS):
            assert ["Kelp.", "I look."] == [choice.content for choice in answer.choices]
            assert [(), ("get_weather",)] == [tuple(call.name for call in one.tool_calls) for one in answer.choices]
            assert ["stop", "tool_calls"] == [choice.finish_reason for choice in answer.choices]


@each("kind, most", [("openai", 128), ("azure", 128), ("google", 8)])
def test_too_many_choices_are_refused(kind, most):
    """As the vendor does."""
    with VendorSimulator(responses="x") as simulator:
        assert most == len(both(kind, simulator, n=most)[0].choices)
        with pytest.raises(InvalidRequest):
            both(kind, simulator, n=most + 1)


def test_all_choices_of_azure_have_a_verdict():
    """Not the first alone."""
    with VendorSimulator(responses="x") as simulator, Dispatcher() as dispatcher:
        made = vendor("azure", base_url=simulator.azure_url, api_key="k", trust_env=False)
        dispatcher.register_vendor(made)
        asked = {"model": "gpt-4o", "messages": [{"role": "user", "content": "hi"}], "n": 2}
        choices = made.request("POST", "/openai/v1/chat/completions", json=asked).json()["choices"]
    assert [True, True] == ["content_filter_results" in choice for choice in choices]
