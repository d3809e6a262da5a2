"""A script as one writes it for OpenAI's SDK: a stream, tools, a structured answer, embeddings, and what can go wrong."""

import json

from openai import APIConnectionError, APIStatusError, APITimeoutError, BadRequestError, OpenAI, RateLimitError
from pydantic import BaseModel

MODEL, VECTORS = "gpt-4o-mini", "text-embedding-3-small"
SCHEMA = {"type": "object", "properties": {"product": {"type": "string"}}, "required": ["product"]}
TOOLS = [{"type": "function", "function": {"name": "stock", "description": "How many are left.", "parameters": SCHEMA}}]


class Report(BaseModel):
    product: str
    urgent: bool


def read_aloud(client, question):
    for chunk in client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": question}], stream=True):
        if chunk.choices and chunk.choices[0].delta.content:
            print(chunk.choices[0].delta.content, end="|")
    print()


def ask_with_tools(client, question):
    messages = [{"role": "user", "content": question}]
    while True:
        message = client.chat.completions.create(model=MODEL, messages=messages, tools=TOOLS, temperature=0).choices[0].message
        if not message.tool_calls:
            return message.content
        messages.append(message)
        for call in message.tool_calls:
            told = {**json.loads(call.function.arguments), "left": 3}
            messages.append({"role": "tool", "tool_call_id": call.id, "content": json.dumps(told)})


def nearest(client, question, texts):
    asked, *rest = [one.embedding for one in client.embeddings.create(model=VECTORS, input=[question, *texts]).data]
    return max(zip(rest, texts, strict=True), key=lambda pair: sum(a * b for a, b in zip(pair[0], asked, strict=True)))[1]


def main():
    client = OpenAI(max_retries=0)
    read_aloud(client, "Say hello.")
    print(ask_with_tools(client, "Are there lamps?"))
    parsed = client.chat.completions.parse(model=MODEL, messages=[{"role": "user", "content": "It burns!"}], response_format=Report)
    print(repr(parsed.choices[0].message.parsed), nearest(client, "a lamp", ["a lamp", "a table"]))
    for wait in (20, 20, 20, 20, 0.2, 20):
        try:
            print(client.responses.create(model=MODEL, input="Go on.", timeout=wait).output_text)
        except (RateLimitError, BadRequestError) as error:
            print(type(error).__name__, error.status_code, error.response.headers.get("Retry-After"))
        except APIStatusError as error:
            print("refused with", error.status_code)
        except APITimeoutError:
            print("too slow")
        except APIConnectionError:
            print("not reached")


if __name__ == "__main__":
    main()
