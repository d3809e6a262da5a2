"""``/v1/completions``: a prompt in, text out, whole and streamed, of every vendor; what cannot be done is refused."""

from __future__ import annotations

import json

from ..cases import each
from .test_gateway import MODELS
from .upstream import streamed, whole

ASK = {"model": "gpt-4o-mini", "prompt": "Once upon"}


def events_of(body: str) -> list[dict]:
    """The documents of a stream."""
    return [json.loads(line[6:]) for line in body.splitlines() if line.startswith("data: {")]


@each("vendor", list(MODELS))
def test_a_prompt_is_continued_whole_and_streamed(served, vendor):
    """By every vendor; the usage is told as everywhere."""
    served.simulator.script("a time there was", "a time there was")
    asked = {**ASK, "model": MODELS[vendor], "max_tokens": 50}
    answer = served.post("/v1/completions", asked)
    streamed = served.post("/v1/completions", {**asked, "stream": True, "stream_options": {"include_usage": True}})
    told, events = answer.json(), events_of(streamed.text)

    assert ("text_completion", vendor) == (told["object"], answer.headers["x-llmdispatcher-vendor"])
    assert [{"text": "a time there was", "index": 0, "logprobs": None, "finish_reason": "stop"}] == told["choices"]
    assert told["usage"]["total_tokens"] > 0
    assert "a time there was" == "".join([one["text"] for event in events for one in event["choices"]])
    assert ["stop"] == [one["finish_reason"] for event in events for one in event["choices"] if one["finish_reason"]]
    assert {"text_completion"} == {event["object"] for event in events}
    assert events[-1]["usage"]["total_tokens"] > 0
    assert streamed.text.endswith("data: [DONE]\n\n")


def choice_of(index: int, text: str, said: str = "message") -> dict:
    """An answer among several, with log probabilities."""
    entries = [{"token": word, "logprob": -0.5, "top_logprobs": [{"token": "x", "logprob": -2.0}]} for word in text.split("|")]
    message = {"role": "assistant", "content": text.replace("|", "")}
    return {"index": index, said: message, "logprobs": {"content": entries}, "finish_reason": "stop"}


def test_several_answers_with_log_probabilities_and_the_prompt(passing):
    """``n``, ``logprobs`` and ``echo`` in the older form, whole and streamed."""
    head = {"id": "c", "object": "chat.completion", "created": 1, "model": "m"}
    events = [{**head, "choices": [choice_of(index, text, "delta")]} for index, text in ((0, "a |b"), (1, "c"))]
    stream = b"".join([b"data: " + json.dumps(event).encode() + b"\n\n" for event in events]) + b"data: [DONE]\n\n"
    answer = json.dumps({**head, "choices": [choice_of(0, "a |b"), choice_of(1, "c")]}).encode()
    passing.vendor.answers = [whole(answer), whole(answer), streamed(stream), streamed(stream)]
    ask = {**ASK, "n": 2}
    probable = passing.post("/v1/completions", {**ask, "logprobs": 1}).json()["choices"]
    echoed = passing.post("/v1/completions", {**ask, "echo": True}).json()["choices"]
    streams = [passing.post("/v1/completions", {**ask, "stream": True, **more}).text for more in ({"logprobs": 1}, {"echo": True})]
    sent = json.loads(passing.vendor.heard[0].body)

    assert (True, 1, 2) == (sent["logprobs"], sent["top_logprobs"], sent["n"])
    wanted = {"tokens": ["a ", "b"], "token_logprobs": [-0.5, -0.5], "top_logprobs": [{"x": -2.0}] * 2, "text_offset": [0, 2]}
    assert [wanted, "a b", 1] == [probable[0]["logprobs"], probable[0]["text"], probable[1]["index"]]
    assert ["Once upona b", "Once uponc"] == [one["text"] for one in echoed]
    told = [one for event in events_of(streams[0]) for one in event["choices"] if one["logprobs"]]
    assert [wanted] == [one["logprobs"] for one in told if one["index"] == 0]
    texts = [(one["index"], one["text"]) for event in events_of(streams[1]) for one in event["choices"]]
    assert ["Once upona b", "Once uponc"] == ["".join([text for at, text in texts if at == index]) for index in (0, 1)]


REFUSED = {
    "several prompts": {"prompt": ["a", "b"]},
    "tokens": {"prompt": [1, 2, 3]},
    "lists of tokens": {"prompt": [[1, 2], [3]]},
    "no prompt": {"prompt": ""},
    "a suffix": {"suffix": "the end"},
    "the best of several": {"best_of": 3},
    "an echo that is no flag": {"echo": "yes"},
    "too many log probabilities": {"logprobs": 6},
    "log probabilities of the prompt": {"echo": True, "logprobs": 1},
    "messages": {"messages": [{"role": "user", "content": "a"}]},
}


@each("more", REFUSED)
def test_what_a_conversation_cannot_do_is_refused(served, more):
    """With 400, and a text that begins with the field; nothing is sent."""
    answer = served.post("/v1/completions", {**ASK, **more})

    assert 400 == answer.status_code
    assert answer.json()["error"]["message"].startswith(f"{list(more)[-1]}:"), answer.text
    assert not served.simulator.requests


def test_no_json(served):
    """And no object."""
    for body in (b"{", b"[]", b"\xff"):
        assert 400 == served.post("/v1/completions", None, data=body).status_code
