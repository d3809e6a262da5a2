"""A client of the shape of OpenAI's SDK over a dispatcher, so that existing code changes one line of imports.

```python
from llmdispatcher.integrations.openai import OpenAI     # was: from openai import OpenAI

client = OpenAI()                                        # the vendors of the environment; or OpenAI(dispatcher=...)
answer = client.chat.completions.create(model="claude-haiku-4-5", messages=[{"role": "user", "content": "Why?"}])
print(answer.choices[0].message.content)
```

There are ``chat.completions`` and ``responses`` with ``create`` (streamed too), ``parse`` and ``stream``, ``embeddings.create`` and
``models.list``. Requests and answers are what OpenAI documents, whichever vendor answers; what a vendor has no place for is left
out. The errors are the SDK's and the library's own at once (:mod:`~llmdispatcher.integrations.openai.errors`). An argument that
OpenAI's API does not have raises ``TypeError``, and belongs into ``extra_body``. Any other part of the SDK raises by its name.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NoReturn

from llmdispatcher.integrations.openai.arguments import NOT_GIVEN, NotGiven, Omit, not_given, omit
from llmdispatcher.integrations.openai.client import OpenAI
from llmdispatcher.integrations.openai.errors import (
    APIConnectionError,
    APIError,
    APIResponseValidationError,
    APIStatusError,
    APITimeoutError,
    AuthenticationError,
    BadRequestError,
    ConflictError,
    ContentFilterFinishReasonError,
    InternalServerError,
    LengthFinishReasonError,
    NotFoundError,
    OpenAIError,
    PermissionDeniedError,
    RateLimitError,
    UnprocessableEntityError,
)
from llmdispatcher.integrations.openai.records import ChatCompletionStream, Page, Record, ResponseStream, Stream

__all__ = [
    "NOT_GIVEN",
    "APIConnectionError",
    "APIError",
    "APIResponseValidationError",
    "APIStatusError",
    "APITimeoutError",
    "AuthenticationError",
    "BadRequestError",
    "ChatCompletionStream",
    "ConflictError",
    "ContentFilterFinishReasonError",
    "InternalServerError",
    "LengthFinishReasonError",
    "NotFoundError",
    "NotGiven",
    "Omit",
    "OpenAI",
    "OpenAIError",
    "Page",
    "PermissionDeniedError",
    "RateLimitError",
    "Record",
    "ResponseStream",
    "Stream",
    "UnprocessableEntityError",
    "not_given",
    "omit",
]

_MISSING: Mapping[str, str] = {
    "AsyncOpenAI": "the library is blocking: use OpenAI, in threads",
    "AzureOpenAI": "register an AzureOpenAIVendor with a dispatcher, and give OpenAI(dispatcher=...)",
    "Timeout": "give seconds, or an httpx.Timeout",
    "pydantic_function_tool": "write the tool as a dict, its parameters by model_json_schema()",
}


def __getattr__(name: str) -> NoReturn:
    if name in _MISSING:
        raise ImportError(f"llmdispatcher has no {name!r}; {_MISSING[name]}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
