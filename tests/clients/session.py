"""A session of one library of Python: ``session.py LIBRARY URL KEY MODEL FOLDER``, the steps as JSON on the first line of input.

It runs in the libraries' own environment, without this package. For each step a line goes out: ``{"step", "text"}`` or
``{"step", "error"}``. The loop is the same for all; a library has a class that asks once, whole or streamed.
"""

from __future__ import annotations

import base64
import importlib.metadata
import json
import pathlib
import subprocess
import sys

TOOLS = {
    "read_file": ("Read a file", {"path": "string"}),
    "edit_file": ("Put a text in the place of another", {"path": "string", "old_string": "string", "new_string": "string"}),
    "shell": ("Run a command", {"command": "string"}),
}
PACKAGES = {
    "openai": "openai",
    "openai-responses": "openai",
    "anthropic": "anthropic",
    "google-genai": "google-genai",
    "langchain-openai": "langchain-openai",
    "langchain-anthropic": "langchain-anthropic",
    "langchain-google": "langchain-google-genai",
    "pydantic-ai-openai": "pydantic-ai-slim",
    "pydantic-ai-anthropic": "pydantic-ai-slim",
    "pydantic-ai-google": "pydantic-ai-slim",
    "instructor": "instructor",
    "instructor-partial": "instructor",
}
MOST_ROUNDS = 8
SYSTEM = "You work on the files of a folder with the tools that you have. " * 20
SUM_UP = "Give a summary of all that was done."


def schema(fields):
    """The JSON schema of a tool's arguments."""
    return {"type": "object", "properties": {name: {"type": kind} for name, kind in fields.items()}, "required": [*fields]}


def use(folder, name, arguments):
    """Do what a call asks for."""
    if name == "read_file":
        return pathlib.Path(arguments["path"]).read_text()
    if name == "edit_file":
        path = pathlib.Path(arguments["path"])
        path.write_text(path.read_text().replace(arguments["old_string"], arguments["new_string"]))
        return "edited"
    if name != "shell":
        raise LookupError(f"there is no tool {name!r}")
    done = subprocess.run(arguments["command"], shell=True, cwd=folder, capture_output=True, text=True, timeout=60, check=False)
    return done.stdout + done.stderr


class Conversation:
    """What the libraries share: a history in each one's own form, and the loop of calls."""

    def __init__(self, url, key, model, folder):
        self.url, self.key, self.model, self.folder = url, key, model, folder
        self.history = []
        self.connect()

    def turn(self, prompt, picture, streamed):
        """Ask, do the calls, ask again; the text at the end and the thoughts."""
        self.say(prompt, picture)
        thoughts = ""
        for _ in range(MOST_ROUNDS):
            text, thought, calls = self.ask(streamed)
            thoughts += thought
            if not calls:
                return {"text": text, "thoughts": thoughts}
            self.results([(call, use(self.folder, name, arguments)) for call, name, arguments in calls])
        raise RuntimeError("the calls do not end")

    def resume(self):
        """Write the session down, and go on with what was read back."""
        self.history = json.loads(json.dumps(self.history))

    def sum_up(self):
        """Put a summary in the place of the history."""
        kept, self.history = self.history, self.without_last()
        self.say(SUM_UP, None)
        summary = self.ask(False, tools=False)[0]
        del kept
        self.history = []
        self.say(f"So far: {summary}", None)
        self.ask_nothing("Understood.")

    def without_last(self):
        """The history without the prompt that was refused."""
        return self.history[:-1]


class OpenAIChat(Conversation):
    """openai, chat completions."""

    def connect(self):
        import openai

        self.client = openai.OpenAI(base_url=f"{self.url}/v1", api_key=self.key)

    def say(self, prompt, picture):
        content = [{"type": "text", "text": prompt}]
        if picture:
            content.append({"type": "image_url", "image_url": {"url": f"data:image/png;base64,{picture}"}})
        self.history.append({"role": "user", "content": content})

    def ask_nothing(self, text):
        self.history.append({"role": "assistant", "content": text})

    def request(self, tools=True):
        made = [
            {"type": "function", "function": {"name": name, "description": words, "parameters": schema(fields)}}
            for name, (words, fields) in TOOLS.items()
        ]
        messages = [{"role": "system", "content": SYSTEM}, *self.history]
        return {"model": self.model, "messages": messages, **({"tools": made} if tools else {})}

    def ask(self, streamed, tools=True):
        if streamed:
            with self.client.chat.completions.stream(**self.request(tools), stream_options={"include_usage": True}) as stream:
                for _ in stream:
                    pass
                answer = stream.get_final_completion()
        else:
            answer = self.client.chat.completions.create(**self.request(tools))
        said = answer.choices[0].message
        calls = [(call.id, call.function.name, json.loads(call.function.arguments)) for call in said.tool_calls or ()]
        kept = {"role": "assistant", "content": said.content}
        if said.tool_calls:
            kept["tool_calls"] = [
                {"id": call.id, "type": "function", "function": {"name": call.function.name, "arguments": call.function.arguments}}
                for call in said.tool_calls
            ]
        self.history.append(kept)
        return said.content or "", getattr(said, "reasoning_content", None) or "", calls

    def results(self, results):
        self.history += [{"role": "tool", "tool_call_id": call, "content": text} for call, text in results]

    def interrupt(self, prompt):
        self.say(prompt, None)
        with self.client.chat.completions.create(**self.request(), stream=True) as stream:
            next(iter(stream))


class OpenAIResponses(Conversation):
    """openai, responses."""

    connect = OpenAIChat.connect

    def say(self, prompt, picture):
        content = [{"type": "input_text", "text": prompt}]
        if picture:
            content.append({"type": "input_image", "image_url": f"data:image/png;base64,{picture}", "detail": "auto"})
        self.history.append({"type": "message", "role": "user", "content": content})

    def ask_nothing(self, text):
        self.history.append({"role": "assistant", "content": text})

    def request(self, tools=True):
        made = [
            {"type": "function", "name": name, "description": words, "parameters": schema(fields), "strict": False}
            for name, (words, fields) in TOOLS.items()
        ]
        more = {"include": ["reasoning.encrypted_content"], "reasoning": {"effort": "low", "summary": "auto"}, "store": False}
        asked = {"model": self.model, "instructions": SYSTEM, "input": self.history, **more}
        return {**asked, **({"tools": made} if tools else {})}

    def ask(self, streamed, tools=True):
        if streamed:
            with self.client.responses.stream(**self.request(tools)) as stream:
                for _ in stream:
                    pass
                answer = stream.get_final_response()
        else:
            answer = self.client.responses.create(**self.request(tools))
        self.history += [json.loads(item.model_dump_json(exclude_none=True)) for item in answer.output]
        for item in self.history:
            item.pop("parsed_arguments", None)
        calls = [(item.call_id, item.name, json.loads(item.arguments)) for item in answer.output if item.type == "function_call"]
        thoughts = [part.text for item in answer.output if item.type == "reasoning" for part in item.summary]
        return answer.output_text, "".join(thoughts), calls

    def results(self, results):
        self.history += [{"type": "function_call_output", "call_id": call, "output": text} for call, text in results]

    def interrupt(self, prompt):
        self.say(prompt, None)
        with self.client.responses.create(**self.request(), stream=True) as stream:
            next(iter(stream))


class Anthropic(Conversation):
    """anthropic."""

    def connect(self):
        import anthropic

        self.client = anthropic.Anthropic(base_url=self.url, api_key=self.key)

    def say(self, prompt, picture):
        content = [{"type": "text", "text": prompt}]
        if picture:
            content.append({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": picture}})
        self.history.append({"role": "user", "content": content})

    def ask_nothing(self, text):
        self.history.append({"role": "assistant", "content": text})

    def request(self, tools=True):
        made = [{"name": name, "description": words, "input_schema": schema(fields)} for name, (words, fields) in TOOLS.items()]
        mark = {"cache_control": {"type": "ephemeral"}}
        *before, last = self.history
        marked = {**last, "content": [*last["content"][:-1], {**last["content"][-1], **mark}]}
        asked = {"model": self.model, "max_tokens": 8000, "system": [{"type": "text", "text": SYSTEM, **mark}]}
        thinking = {"type": "enabled", "budget_tokens": 2000}
        return {**asked, "messages": [*before, marked], "thinking": thinking, **({"tools": made} if tools else {})}

    def ask(self, streamed, tools=True):
        if streamed:
            with self.client.messages.stream(**self.request(tools)) as stream:
                for _ in stream:
                    pass
                answer = stream.get_final_message()
        else:
            answer = self.client.messages.create(**self.request(tools))
        blocks = [json.loads(block.model_dump_json(exclude_none=True)) for block in answer.content]
        for block in blocks:
            block.pop("parsed_output", None)
        self.history.append({"role": "assistant", "content": blocks})
        calls = [(block["id"], block["name"], block["input"]) for block in blocks if block["type"] == "tool_use"]
        text = "".join([block["text"] for block in blocks if block["type"] == "text"])
        return text, "".join([block["thinking"] for block in blocks if block["type"] == "thinking"]), calls

    def results(self, results):
        content = [{"type": "tool_result", "tool_use_id": call, "content": text} for call, text in results]
        self.history.append({"role": "user", "content": content})

    def interrupt(self, prompt):
        self.say(prompt, None)
        with self.client.messages.stream(**self.request()) as stream:
            next(iter(stream.text_stream))


class Google(Conversation):
    """google-genai."""

    def connect(self):
        from google import genai

        retry = {"attempts": 5, "initial_delay": 0.5, "http_status_codes": [429, 500, 502, 503, 504]}
        self.client = genai.Client(api_key=self.key, http_options={"base_url": self.url, "retry_options": retry})

    def say(self, prompt, picture):
        parts = [{"text": prompt}]
        if picture:
            parts.append({"inline_data": {"mime_type": "image/png", "data": picture}})
        self.history.append({"role": "user", "parts": parts})

    def ask_nothing(self, text):
        self.history.append({"role": "model", "parts": [{"text": text}]})

    def request(self, tools=True):
        from google.genai import types

        made = [
            {"name": name, "description": words, "parameters_json_schema": schema(fields)}
            for name, (words, fields) in TOOLS.items()
        ]
        config = {"system_instruction": SYSTEM, "thinking_config": {"include_thoughts": True}}
        config |= {"automatic_function_calling": {"disable": True}}
        if tools:
            config["tools"] = [{"function_declarations": made}]
        contents = [types.Content.model_validate(one) for one in self.history]
        return {"model": self.model, "contents": contents, "config": config}

    def ask(self, streamed, tools=True):
        parts = []
        if streamed:
            for chunk in self.client.models.generate_content_stream(**self.request(tools)):
                for candidate in chunk.candidates or ():
                    parts += (candidate.content and candidate.content.parts) or ()
        else:
            parts = self.client.models.generate_content(**self.request(tools)).candidates[0].content.parts
        kept = [json.loads(part.model_dump_json(exclude_none=True)) for part in parts]
        self.history.append({"role": "model", "parts": kept})
        calls = [(part.function_call, part.function_call.name, part.function_call.args) for part in parts if part.function_call]
        text = "".join([part.text for part in parts if part.text and not part.thought])
        return text, "".join([part.text for part in parts if part.text and part.thought]), calls

    def results(self, results):
        parts = [
            {"function_response": {"name": call.name, "response": {"output": text}, **({"id": call.id} if call.id else {})}}
            for call, text in results
        ]
        self.history.append({"role": "user", "parts": parts})

    def interrupt(self, prompt):
        self.say(prompt, None)
        stream = self.client.models.generate_content_stream(**self.request())
        next(stream)
        stream.close()


class LangChain(Conversation):
    """langchain, with the model of a vendor."""

    def model_of(self):
        raise NotImplementedError

    def connect(self):
        from langchain_core.messages import SystemMessage

        self.chat = self.model_of()
        tools = [
            {"type": "function", "function": {"name": name, "description": words, "parameters": schema(fields)}}
            for name, (words, fields) in TOOLS.items()
        ]
        self.bound = self.chat.bind_tools(tools)
        self.system = SystemMessage(SYSTEM)

    def say(self, prompt, picture):
        from langchain_core.messages import HumanMessage

        content = [{"type": "text", "text": prompt}]
        if picture:
            content.append({"type": "image", "base64": picture, "mime_type": "image/png"})
        self.history.append(HumanMessage(content=content))

    def ask_nothing(self, text):
        from langchain_core.messages import AIMessage

        self.history.append(AIMessage(text))

    def ask(self, streamed, tools=True):
        model = self.bound if tools else self.chat
        if streamed:
            whole = None
            for chunk in model.stream([self.system, *self.history]):
                whole = chunk if whole is None else whole + chunk
        else:
            whole = model.invoke([self.system, *self.history])
        self.history.append(whole)
        thoughts = "".join([block.get("reasoning", "") for block in whole.content_blocks if block["type"] == "reasoning"])
        return str(whole.text), thoughts, [(call["id"], call["name"], call["args"]) for call in whole.tool_calls]

    def results(self, results):
        from langchain_core.messages import ToolMessage

        self.history += [ToolMessage(text, tool_call_id=call) for call, text in results]

    def resume(self):
        from langchain_core.messages import messages_from_dict, messages_to_dict

        self.history = messages_from_dict(json.loads(json.dumps(messages_to_dict(self.history))))

    def interrupt(self, prompt):
        self.say(prompt, None)
        stream = self.bound.stream([self.system, *self.history])
        next(stream)
        stream.close()


class LangChainOpenAI(LangChain):
    """langchain-openai."""

    def model_of(self):
        from langchain_openai import ChatOpenAI

        return ChatOpenAI(base_url=f"{self.url}/v1", api_key=self.key, model=self.model, use_responses_api=False)


class LangChainAnthropic(LangChain):
    """langchain-anthropic."""

    def model_of(self):
        from langchain_anthropic import ChatAnthropic

        thinking = {"type": "enabled", "budget_tokens": 2000}
        return ChatAnthropic(base_url=self.url, api_key=self.key, model=self.model, max_tokens=8000, thinking=thinking)


class LangChainGoogle(LangChain):
    """langchain-google-genai."""

    def model_of(self):
        from langchain_google_genai import ChatGoogleGenerativeAI

        return ChatGoogleGenerativeAI(
            model=self.model, google_api_key=self.key, base_url=self.url, max_retries=6, include_thoughts=True
        )


class PydanticAI(Conversation):
    """pydantic-ai; it does its calls itself."""

    def model_of(self):
        raise NotImplementedError

    def connect(self):
        from pydantic_ai import Agent

        folder = self.folder

        def read_file(path: str) -> str:
            """Read a file."""
            return use(folder, "read_file", {"path": path})

        def edit_file(path: str, old_string: str, new_string: str) -> str:
            """Put a text in the place of another."""
            return use(folder, "edit_file", {"path": path, "old_string": old_string, "new_string": new_string})

        def shell(command: str) -> str:
            """Run a command."""
            return use(folder, "shell", {"command": command})

        self.agent = Agent(self.model_of(), system_prompt=SYSTEM, tools=[read_file, edit_file, shell])
        self.bare = Agent(self.model_of())

    def turn(self, prompt, picture, streamed):
        from pydantic_ai import BinaryContent
        from pydantic_ai.messages import ThinkingPart

        content = [prompt, BinaryContent(base64.b64decode(picture), media_type="image/png")] if picture else prompt

        async def listen(_, events):
            async for _ in events:
                pass

        # With a listener it asks for streams; run_stream() ends at the first text, before the calls that come with it.
        handler = listen if streamed else None
        run = self.agent.run_sync(content, message_history=self.history, event_stream_handler=handler)
        self.history = run.all_messages()
        parts = [part for message in run.new_messages() for part in message.parts]
        return {"text": run.output, "thoughts": "".join([part.content for part in parts if isinstance(part, ThinkingPart)])}

    def sum_up(self):
        summary = self.bare.run_sync(SUM_UP, message_history=self.history).output
        self.history = self.bare.run_sync(f"So far: {summary}").all_messages()

    def resume(self):
        from pydantic_ai.messages import ModelMessagesTypeAdapter

        self.history = ModelMessagesTypeAdapter.validate_json(ModelMessagesTypeAdapter.dump_json(self.history))

    def interrupt(self, prompt):
        import asyncio

        async def leave():
            async with self.agent.run_stream(prompt, message_history=self.history) as run:
                async for _ in run.stream_text():
                    break

        asyncio.get_event_loop().run_until_complete(leave())  # that of run_sync(), whose connections are bound to it


class PydanticAIOpenAI(PydanticAI):
    """pydantic-ai with openai."""

    def model_of(self):
        from pydantic_ai.models.openai import OpenAIChatModel
        from pydantic_ai.providers.openai import OpenAIProvider

        return OpenAIChatModel(self.model, provider=OpenAIProvider(base_url=f"{self.url}/v1", api_key=self.key))


class PydanticAIAnthropic(PydanticAI):
    """pydantic-ai with anthropic."""

    def model_of(self):
        from anthropic import AsyncAnthropic
        from pydantic_ai.models.anthropic import AnthropicModel
        from pydantic_ai.providers.anthropic import AnthropicProvider

        client = AsyncAnthropic(base_url=self.url, api_key=self.key)
        return AnthropicModel(self.model, provider=AnthropicProvider(anthropic_client=client))


class PydanticAIGoogle(PydanticAI):
    """pydantic-ai with google-genai."""

    def model_of(self):
        from google.genai import Client
        from pydantic_ai.models.google import GoogleModel
        from pydantic_ai.providers.google import GoogleProvider

        retry = {"attempts": 5, "initial_delay": 0.5, "http_status_codes": [429, 500, 502, 503, 504]}
        client = Client(api_key=self.key, http_options={"base_url": self.url, "retry_options": retry})
        return GoogleModel(self.model, provider=GoogleProvider(client=client))


class Instructor(OpenAIChat):
    """instructor: each answer is an object, by a forced call."""

    partial = False
    """Whether objects are streamed as they grow. A session has one of the two: their tools, with which a prompt begins, differ."""

    def connect(self):
        import instructor
        import openai
        import pydantic

        class Report(pydantic.BaseModel):
            """What a step came to."""

            said: str
            right: bool
            lines: list[int]

        super().connect()
        self.report = Report
        self.made = instructor.from_openai(openai.OpenAI(base_url=f"{self.url}/v1", api_key=self.key))

    def turn(self, prompt, picture, streamed):
        self.say(prompt, picture)
        completions = self.made.chat.completions
        if self.partial:
            *_, report = completions.create_partial(response_model=self.report, **self.request(tools=False))
        else:
            report = completions.create(response_model=self.report, **self.request(tools=False))
        assert isinstance(report.right, bool), report
        self.ask_nothing(report.model_dump_json())
        return {"text": report.said, "thoughts": ""}

    def interrupt(self, prompt):
        import instructor

        self.say(prompt, None)
        asked = instructor.Partial[self.report] if self.partial else self.report
        tools = [{"type": "function", "function": instructor.openai_schema(asked).openai_schema}]
        with self.client.chat.completions.create(**self.request(tools=False), tools=tools, stream=True) as stream:
            next(iter(stream))


class InstructorPartial(Instructor):
    """instructor, with objects that are streamed."""

    partial = True


LIBRARIES = {
    "openai": OpenAIChat,
    "openai-responses": OpenAIResponses,
    "anthropic": Anthropic,
    "google-genai": Google,
    "langchain-openai": LangChainOpenAI,
    "langchain-anthropic": LangChainAnthropic,
    "langchain-google": LangChainGoogle,
    "pydantic-ai-openai": PydanticAIOpenAI,
    "pydantic-ai-anthropic": PydanticAIAnthropic,
    "pydantic-ai-google": PydanticAIGoogle,
    "instructor": Instructor,
    "instructor-partial": InstructorPartial,
}
FULL = ("context_length", "prompt is too long", "exceeds the maximum number of tokens", "maximum context length")
STREAMED = ("edit", "two", "think", "resume")


def step(conversation, name, prompt, picture):
    """One step of a session."""
    if name == "interrupt":
        conversation.interrupt(prompt)
        return {"text": "", "thoughts": ""}
    if name == "resume":
        conversation.resume()
    if name != "overflow":
        return conversation.turn(prompt, picture if name == "picture" else None, name in STREAMED)
    try:
        conversation.turn(prompt, None, False)
    except Exception as error:
        if not any(word in str(error) for word in FULL):
            raise
        conversation.sum_up()
    return conversation.turn(prompt, None, False)


def main():
    """Run the session."""
    library, url, key, model, folder = sys.argv[1:]
    out, sys.stdout = sys.stdout, sys.stderr
    asked = json.loads(sys.stdin.readline())
    picture = base64.b64encode(pathlib.Path(folder, "picture.png").read_bytes()).decode()
    print(json.dumps({"version": importlib.metadata.version(PACKAGES[library])}), file=out, flush=True)
    conversation = LIBRARIES[library](url, key, model, folder)
    for name, prompt in asked:
        try:
            told = step(conversation, name, prompt, picture)
        except Exception as error:
            told = {"error": f"{type(error).__name__}: {error}"[:900]}
        print(json.dumps({"step": name, **told}), file=out, flush=True)


if __name__ == "__main__":
    main()
