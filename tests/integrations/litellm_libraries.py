"""Released libraries that are built on LiteLLM, with ours in its place: `python litellm_libraries.py instructor|smolagents|dspy`.

It runs in an environment that has the library (`scripts/strangers` makes `.venv-libraries`); the vendors are on the loopback.
"""

import sys

from llmdispatcher import ToolCall
from llmdispatcher.integrations import litellm
from llmdispatcher.testing import SimulatedResponse, VendorSimulator, faults

HELLO = [{"role": "user", "content": "Ann is five."}]
checks = 0


def check(expected, found):
    """Count a check; raise where it fails."""
    global checks
    assert expected == found, f"{found!r} is not {expected!r}"
    checks += 1


def raised(ask, *arguments, **given):
    """The exception of a call that must fail."""
    try:
        ask(*arguments, **given)
    except Exception as error:
        return error
    raise AssertionError("nothing was raised")


def call(name, arguments):
    """An answer that calls a tool."""
    return SimulatedResponse(tool_calls=[ToolCall(id=f"c{checks}", name=name, arguments=arguments)])


def run_instructor(simulator, place):
    """Classes as answers: by tools, asked again where they do not fit, as JSON, in parts, as lists."""
    import instructor
    import pydantic

    class User(pydantic.BaseModel):
        name: str
        age: int

    asked = {"model": "openai/gpt-4o-mini", "messages": HELLO, "response_model": User, **place}
    client = instructor.from_litellm(litellm.completion)
    simulator.script(call("User", '{"name": "Ann", "age": "five"}'), call("User", '{"name": "Ann", "age": 5}'))
    user, raw = client.chat.completions.create_with_completion(**asked, max_retries=2)
    check({"name": "Ann", "age": 5}, user.model_dump())
    check(True, raw.usage.total_tokens > 0 and isinstance(raw, litellm.ModelResponse))
    simulator.script('{"name": "Ben", "age": 6}')
    by_json = instructor.from_litellm(litellm.completion, mode=instructor.Mode.JSON)
    check({"name": "Ben", "age": 6}, by_json.create(**asked).model_dump())
    simulator.script(call("User", '{"name": "Ann", "age": 5}'))
    check(("Ann", 5), [(part.name, part.age) for part in client.chat.completions.create_partial(**asked)][-1])
    simulator.script(faults.status(401))
    error = raised(client.create, **asked, max_retries=1)
    check(True, "AuthenticationError" in f"{error!r} {error.__cause__!r}")


def run_smolagents(simulator, place):
    """Models, their streams, agents with tools, and the Router."""
    from smolagents import CodeAgent, LiteLLMModel, LiteLLMRouterModel, LogLevel, ToolCallingAgent, tool

    @tool
    def weather(city: str) -> str:
        """Tell the weather of a city.

        Args:
            city: The city.
        """
        return f"sun in {city}"

    model = LiteLLMModel(model_id="openai/gpt-4o-mini", **place)
    hello = [{"role": "user", "content": [{"type": "text", "text": "Hello"}]}]
    simulator.script("Good day.", "Good day.")
    answer = model.generate(hello)
    check(("assistant", "Good day."), (answer.role, answer.content))
    check(True, answer.token_usage.total_tokens > 0)
    pieces = list(model.generate_stream(hello))
    check("Good day.", "".join(piece.content or "" for piece in pieces))
    check(True, pieces[-1].token_usage.output_tokens > 0)
    for stream in (False, True):
        simulator.script(call("weather", '{"city": "Paris"}'), call("final_answer", '{"answer": "sun"}'))
        agent = ToolCallingAgent(tools=[weather], model=model, stream_outputs=stream, verbosity_level=LogLevel.OFF)
        check("sun", agent.run("What is the weather in Paris?"))
    simulator.script("Thought: easy.\n<code>\nfinal_answer(weather(city='Rome'))\n</code>")
    check("sun in Rome", CodeAgent(tools=[weather], model=model, verbosity_level=LogLevel.OFF).run("And in Rome?"))
    routed = LiteLLMRouterModel(
        model_id="main",
        model_list=[{"model_name": "main", "litellm_params": {"model": "openai/gpt-4o-mini", **place}}],
        client_kwargs={"routing_strategy": "simple-shuffle"},
    )
    simulator.script("Routed.")
    check("Routed.", routed.generate(hello).content)


def run_dspy(simulator, place):
    """Language models, signatures in two formats, errors, costs and vectors."""
    import dspy

    model = dspy.LM("openai/gpt-4o-mini", cache=False, engine="litellm", **place)
    dspy.configure(lm=model)
    simulator.script("[[ ## reasoning ## ]]\nIt is known.\n\n[[ ## answer ## ]]\n42\n\n[[ ## completed ## ]]")
    found = dspy.ChainOfThought("question -> answer")(question="What is it?")
    check(("It is known.", "42"), (found.reasoning, found.answer))
    simulator.script('{"answer": "7"}')
    with dspy.context(adapter=dspy.JSONAdapter()):
        check("7", dspy.Predict("question -> answer")(question="And now?").answer)
    check(True, model.history[-1]["cost"] > 0 and model.history[-1]["usage"]["total_tokens"] > 0)
    simulator.script("Plainly.", "As a text.")
    check(["Plainly."], model("Say it."))
    text = dspy.LM("openai/gpt-3.5-turbo-instruct", model_type="text", cache=False, engine="litellm", **place)
    check(["As a text."], text("Say it."))
    simulator.script(faults.context_overflow())
    check("ContextWindowExceededError", type(raised(model, "Too long.")).__name__)
    simulator.script(faults.status(401))
    check("LMAuthError", type(raised(model, "Refused.")).__name__)
    check((2, 256), dspy.Embedder("openai/text-embedding-3-small", caching=False, **place)(["a", "b"]).shape)


LIBRARIES = {"instructor": run_instructor, "smolagents": run_smolagents, "dspy": run_dspy}


def main(library):
    """Run one of them, and print how much was checked."""
    litellm.install()
    with VendorSimulator() as simulator:
        place = {"api_key": "sk-simulated-0001", "api_base": simulator.openai_url}
        LIBRARIES[library](simulator, place)
    files = [getattr(module, "__file__", None) or "" for module in list(sys.modules.values())]
    check([], [file for file in files if "site-packages/litellm/" in file])
    check("llmdispatcher.integrations.litellm", sys.modules["litellm"].__name__)
    print(f"{checks} checks")


if __name__ == "__main__":
    main(sys.argv[1])
