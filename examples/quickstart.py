"""One question, whichever vendor has the model: ``python -m examples.quickstart``."""

from llmdispatcher import Config, Dispatcher, DispatchError, Request, RetryPolicy


def main() -> None:
    """Ask, print the answer and what it cost; tell what to do where nobody answers."""
    config = Config(retry_policy=RetryPolicy(max_retries=2))
    with Dispatcher.from_env(config) as dispatcher:
        request = Request("gpt-4o-mini", "Name three uses of a queue, one line each.", max_tokens=120)
        print(dispatcher.explain(request))
        try:
            response = dispatcher.send(request)
        except DispatchError as error:
            print(f"{type(error).__name__}: {error}")
            return
        print(response.content)
        print(f"{response.ref}, {response.usage.total_tokens} tokens, US$ {response.usage.cost}, {response.latency:.2f} s")


if __name__ == "__main__":
    main()
