"""Google's own SDK: generate_content, whole and streamed, and what it makes of it."""

import base64
import functools

from driving import serve
from google import genai
from google.genai import types
from pydantic import BaseModel


class Weather(BaseModel):
    """The form of a structured answer."""

    city: str
    degrees: int


@functools.lru_cache(maxsize=1)
def client(url):
    """Kept: it closes itself as soon as nobody holds it."""
    options = types.HttpOptions(base_url=url, api_version="v1beta", timeout=50_000)
    return genai.Client(api_key="k", http_options=options)


def versions():
    return genai.__version__


def generate(url, **asked):
    return _answer([client(url).models.generate_content(**_read(asked))])


def generate_stream(url, **asked):
    chunks = list(client(url).models.generate_content_stream(**_read(asked)))
    return {**_answer(chunks), "pieces": [chunk.text for chunk in chunks if chunk.text]}


def generate_parse(url, **asked):
    """With a class as the answer's form."""
    config = {"response_mime_type": "application/json", "response_schema": Weather}
    return client(url).models.generate_content(config=config, **asked).parsed.model_dump()


def count(url, **asked):
    return client(url).models.count_tokens(**asked).total_tokens


def _read(asked):
    """A picture comes as base64."""
    picture = asked.pop("picture", None)
    if picture is not None:
        asked["contents"] = [asked["contents"], types.Part.from_bytes(data=base64.b64decode(picture), mime_type="image/png")]
    return asked


def _answer(chunks):
    """What was said by the first candidate; a prompt that was blocked has none."""
    candidates = [candidate for chunk in chunks for candidate in chunk.candidates or () if not candidate.index]
    parts = [part for candidate in candidates for part in (candidate.content and candidate.content.parts) or ()]
    calls = [part for part in parts if part.function_call]
    feedback, usage = chunks[-1].prompt_feedback, chunks[-1].usage_metadata
    return {
        "id": chunks[-1].response_id,
        "model": chunks[-1].model_version,
        "content": "".join(part.text for part in parts if part.text and not part.thought),
        "reasoning": "".join(part.text for part in parts if part.text and part.thought),
        "calls": [{"name": part.function_call.name, "args": part.function_call.args} for part in calls],
        "signed": [base64.b64encode(part.thought_signature or b"").decode() for part in calls],
        "finish": candidates[-1].finish_reason if candidates else feedback.block_reason,
        "usage": _counts(usage) if usage else None,
    }


def _counts(usage):
    return [usage.prompt_token_count, usage.candidates_token_count, usage.thoughts_token_count, usage.total_token_count]


def tell(error):
    return {
        "status": getattr(error, "code", None),
        "kind": getattr(error, "status", None),
        "message": getattr(error, "message", ""),
    }


if __name__ == "__main__":
    serve({job.__name__: job for job in (versions, generate, generate_stream, generate_parse, count)}, tell)
