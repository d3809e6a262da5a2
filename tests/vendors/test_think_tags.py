"""Models that write their thoughts into their text: the row says so, and the caller gets text and thoughts apart."""

from llmdispatcher import Deadline, Dispatcher, Request, vendor
from llmdispatcher.testing import VendorSimulator

from ..cases import each

KEY = "sk-think-0123456789"
SAID = "<think>one and one\nis two</think>\n\nIt is 2."


@each(
    "kind, model, split",
    [
        ("perplexity", "sonar-reasoning-pro", True),
        ("together", "deepseek-ai/DeepSeek-R1", True),
        ("perplexity", "sonar-pro", False),
        ("openai", "gpt-4o", False),
    ],
)
def test_thoughts_in_tags_are_told_from_the_answer(kind, model, split):
    """Plain and streamed, for the models whose row says so; for others a tag is text like any other."""
    with VendorSimulator(responses=SAID) as simulator:
        made = vendor(kind, api_key=KEY, base_url=simulator.openai_url, trust_env=False)
        whole = made.send(Request(model, "1 + 1?"), Deadline.after(30))
        chunks = list(made.stream(Request(model, "1 + 1?"), Deadline.after(30)))
        made.close()
    streamed = ("".join(chunk.content for chunk in chunks), "".join(chunk.reasoning for chunk in chunks))

    assert (("It is 2.", "one and one\nis two") if split else (SAID, "")) == (whole.content.strip(), whole.reasoning.strip())
    assert (whole.content.strip(), whole.reasoning.strip()) == (streamed[0].strip(), streamed[1].strip())


def test_an_answer_of_a_form_is_parsed_where_the_vendor_knows_no_schemas():
    """The form is told in words, and held to the answer all the same."""
    with VendorSimulator(responses='{"city": "Bern", "population": 134000}') as simulator, Dispatcher() as dispatcher:
        dispatcher.register_vendor(vendor("deepseek", api_key=KEY, base_url=simulator.openai_url, trust_env=False))
        schema = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
        answer = dispatcher.send(Request("deepseek:deepseek-chat", "Where?", response_format=schema))

    assert {"city": "Bern", "population": 134000} == answer.parsed
    assert {"type": "json_object"} == simulator.requests[0].json["response_format"]
