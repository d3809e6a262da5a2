"""Anthropic's own SDK: messages, whole and streamed, and what it makes of them."""

import functools

import anthropic
from driving import serve
from pydantic import BaseModel


class Weather(BaseModel):
    """The form of a structured answer."""

    city: str
    degrees: int


@functools.lru_cache(maxsize=1)
def client(url):
    return anthropic.Anthropic(base_url=url, api_key="k", max_retries=0, timeout=50)


def versions():
    return anthropic.__version__


def message(url, **asked):
    return _message(client(url).messages.create(**asked))


def message_stream(url, **asked):
    """Through the SDK's own accumulator."""
    with client(url).messages.stream(**asked) as stream:
        events = list(stream)
        pieces = [event.text for event in events if event.type == "text"]
        return {**_message(stream.get_final_message()), "pieces": pieces, "kinds": sorted({event.type for event in events})}


def message_parse(url, **asked):
    """With a class as the answer's form."""
    return client(url).messages.parse(output_format=Weather, **asked).parsed_output.model_dump()


def count(url, **asked):
    return client(url).messages.count_tokens(**asked).input_tokens


def _message(told):
    return {
        "id": told.id,
        "model": told.model,
        "role": told.role,
        "blocks": [{key: value for key, value in block.to_dict().items() if value not in (None, [])} for block in told.content],
        "stop": told.stop_reason,
        "sequence": told.stop_sequence,
        "usage": {"input": told.usage.input_tokens, "output": told.usage.output_tokens, "tier": told.usage.service_tier},
    }


def tell(error):
    body = getattr(error, "body", None)
    kind = body["error"]["type"] if isinstance(body, dict) and "error" in body else None
    return {"status": getattr(error, "status_code", None), "kind": kind, "message": getattr(error, "message", str(error))}


if __name__ == "__main__":
    serve({job.__name__: job for job in (versions, message, message_stream, message_parse, count)}, tell)
