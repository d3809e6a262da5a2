"""OpenAI's own SDK: chat completions and responses, whole and streamed, and what it makes of them."""

import contextlib
import functools
import io
import os
import runpy

import openai
from driving import serve
from pydantic import BaseModel


class Weather(BaseModel):
    """The form of a structured answer."""

    city: str
    degrees: int


@functools.lru_cache(maxsize=1)
def client(url):
    return openai.OpenAI(base_url=url, api_key="k", max_retries=0, timeout=50)


def versions():
    return openai.__version__


def chat(url, **asked):
    return _completion(client(url).chat.completions.create(**asked))


def chat_chunks(url, **asked):
    """Chunk by chunk, as most callers read a stream."""
    said = {"content": [], "reasoning": [], "calls": {}, "finish": None, "usage": None}
    for chunk in client(url).chat.completions.create(stream=True, **asked):
        said["usage"] = chunk.usage.to_dict() if chunk.usage else said["usage"]
        for choice in chunk.choices:
            said["finish"] = choice.finish_reason or said["finish"]
            said["content"].append(choice.delta.content or "")
            said["reasoning"].append(getattr(choice.delta, "reasoning_content", None) or "")
            for call in choice.delta.tool_calls or ():
                known = said["calls"].setdefault(call.index, {"id": "", "name": "", "arguments": ""})
                known["id"] += call.id or ""
                known["name"] += call.function.name or ""
                known["arguments"] += call.function.arguments or ""
    return {**said, "content": [piece for piece in said["content"] if piece], "reasoning": "".join(said["reasoning"])}


def chat_stream(url, **asked):
    """Through the SDK's own accumulator, which hands on an answer that was cut as an exception."""
    with client(url).chat.completions.stream(**asked) as stream:
        try:
            return _completion(stream.until_done().get_final_completion())
        except openai.LengthFinishReasonError as cut:
            return _completion(cut.completion)


def chat_parse(url, **asked):
    """With a class as the answer's form."""
    message = client(url).chat.completions.parse(response_format=Weather, **asked).choices[0].message
    return message.parsed.model_dump() if message.parsed else {"refusal": message.refusal}


def respond(url, **asked):
    return _response(client(url).responses.create(**asked))


def respond_stream(url, **asked):
    """Through the SDK's own accumulator, which knows no other end than a completed response."""
    with client(url).responses.stream(**asked) as stream:
        events = list(stream)
        if events[-1].type == "error":
            return {"kind": events[-1].type, "code": events[-1].code, "message": events[-1].message}
        numbers = [event.sequence_number for event in events]
        pieces = [event.delta for event in events if event.type == "response.output_text.delta"]
        kinds = sorted({event.type for event in events})
        counted = numbers == list(range(len(numbers)))
        whole = stream.get_final_response() if events[-1].type == "response.completed" else events[-1].response
        return {**_response(whole), "pieces": pieces, "kinds": kinds, "counted": counted}


def respond_parse(url, **asked):
    """With a class as the answer's form."""
    return client(url).responses.parse(text_format=Weather, **asked).output_parsed.model_dump()


def run(url, path, **variables):
    """What a script prints that asks this address."""
    os.environ |= {"OPENAI_BASE_URL": url, **variables}
    with contextlib.redirect_stdout(io.StringIO()) as said:
        runpy.run_path(path, run_name="__main__")
    return said.getvalue()


def _completion(completion):
    choice = completion.choices[0]
    message = choice.message
    calls = [_call(call.id, call.function) for call in message.tool_calls or () if call.type == "function"]
    legacy = [_call(None, message.function_call)] if message.function_call else []
    return {
        "id": completion.id,
        "model": completion.model,
        "content": _words(message.content, "text") if isinstance(message.content, list) else message.content,
        "refusal": message.refusal,
        "reasoning": _thoughts(message),
        "calls": calls + legacy,
        "custom": [[call.id, call.custom.name, call.custom.input] for call in message.tool_calls or () if call.type == "custom"],
        "finish": choice.finish_reason,
        "usage": completion.usage.to_dict() if completion.usage else None,
        "others": [other.message.content for other in completion.choices[1:]],
        "cited": [note.url_citation.url for note in message.annotations or ()],
        "tokens": [entry.token for entry in choice.logprobs.content] if choice.logprobs else [],
    }


def _thoughts(message):
    """In whichever of the fields that compatible vendors have for them; an answer of theirs keeps its own."""
    for name in ("reasoning_content", "reasoning"):
        if getattr(message, name, None):
            return getattr(message, name)
    listed = message.content if isinstance(message.content, list) else []
    details = getattr(message, "reasoning_details", None) or [part for block in listed for part in block.get("thinking", ())]
    return _words(details) or None


def _words(entries, *kinds):
    return "".join(entry.get("text") or "" for entry in entries if not kinds or entry["type"] in kinds)


def _call(name, function):
    return {"id": name, "name": function.name, "arguments": function.arguments}


def _response(response):
    thoughts = [
        part.text for item in response.output if item.type == "reasoning" for part in (*item.summary, *(item.content or ()))
    ]
    calls = [item for item in response.output if item.type == "function_call"]
    messages = [part for item in response.output if item.type == "message" for part in item.content]
    return {
        "refusals": [part.refusal for part in messages if part.type == "refusal"],
        "cited": [getattr(note, "url", None) for part in messages if part.type == "output_text" for note in part.annotations],
        "custom": [[item.call_id, item.name, item.input] for item in response.output if item.type == "custom_tool_call"],
        "encrypted": [item.encrypted_content for item in response.output if item.type == "reasoning"],
        "id": response.id,
        "model": response.model,
        "status": response.status,
        "incomplete": response.incomplete_details.reason if response.incomplete_details else None,
        "content": response.output_text,
        "types": [item.type for item in response.output],
        "reasoning": "".join(thoughts),
        "calls": [_call(call.call_id, call) for call in calls],
        "usage": response.usage.to_dict() if response.usage else None,
    }


def tell(error):
    return {
        "status": getattr(error, "status_code", None),
        "code": getattr(error, "code", None),
        "kind": getattr(error, "type", None),
        "message": getattr(error, "message", str(error)),
    }


if __name__ == "__main__":
    jobs = (versions, chat, chat_chunks, chat_stream, chat_parse, respond, respond_stream, respond_parse, run)
    serve({job.__name__: job for job in jobs}, tell)
