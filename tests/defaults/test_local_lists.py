"""Local servers are asked for their lists before an unknown name is refused: rarely, within the deadline, without a prompt."""

import threading

import pytest

from llmdispatcher import Dispatcher, ModelNotFound
from llmdispatcher.catalog import NameClaim
from llmdispatcher.runtime import SYSTEM_CLOCK
from llmdispatcher.testing import FakeVendor, LoopbackServer, ManualClock

from ..conftest import PATIENCE
from .parts import asked, at, made, read

EVERY = 300.0
LOCAL = ("ollama", "vllm", "lmstudio", "llamacpp", "local")


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("kind", LOCAL)
def test_a_local_server_takes_the_names_that_it_lists(serve, kind, streamed):
    """The vendors beside it get nothing."""
    server, others = serve("our-llama"), serve()
    with made(at("openai", others.url), at("groq", others.url), at(kind, server.url)) as dispatcher:
        assert () == dispatcher.explain(asked("our-llama")).targets
        assert 0 == server.lists, "explaining asks nobody"
        if streamed:
            dispatcher.count_tokens(asked("our-llama"))
        else:
            assert kind == dispatcher.send(asked("our-llama")).vendor
        assert [kind] == [target.vendor for target in dispatcher.explain(asked("our-llama")).targets]

    assert (1, []) == (server.lists, others.prompts)


@pytest.mark.parametrize("kind", LOCAL)
def test_explain_says_that_a_list_would_be_read_first(serve, kind):
    """Of a name and of a pool; once it was read the explanation knows."""
    server = serve("our-llama")
    with made(at("openai", serve().url), at(kind, server.url), pools={"p": ["our-llama"]}) as dispatcher:
        for model in ("our-llama", "p", "zzz"):
            plan = dispatcher.explain(asked(model))
            assert "our-llama  skipped" not in str(plan)
            assert ((kind,), "") == (plan.unread, plan.route.hint)
            assert f"{kind}  skipped: its list of models has not been read yet; it would be read first" in str(plan)
        assert ["unread"] == [skip.code for skip in plan.skipped if skip.vendor == kind]
        with pytest.raises(ModelNotFound, match="it would be read first"):
            dispatcher.resolve_alias("our-llama")
        with pytest.raises(ModelNotFound, match="as far as is known"):
            dispatcher.send(asked("zzz"))
        assert ((), ()) == (dispatcher.explain(asked("zzz")).unread, dispatcher.explain(asked("our-llama")).unread)

    assert 1 == server.lists


def test_ollamas_latest_tag_need_not_be_said(serve):
    """As its own command line has it."""
    server = serve("gemma9:latest")
    with made(at("openai", serve().url), at("ollama", server.url)) as dispatcher:
        assert "ollama:gemma9" == dispatcher.send(asked("gemma9")).ref


def test_several_local_servers_are_asked_at_once_and_the_one_that_has_it_answers(serve):
    """Whoever does not list it gets no prompt."""
    first, second, third = serve("a"), serve("b"), serve("c")
    vendors = [at("ollama", first.url), at("vllm", second.url), at("local", third.url, name="mine")]
    with made(*vendors) as dispatcher:
        assert ["vllm", "mine", "ollama"] == [dispatcher.send(asked(model)).vendor for model in "bca"]

    assert ([1, 1, 1], ["a"], ["b"], ["c"]) == (
        [server.lists for server in (first, second, third)],
        first.models_asked,
        second.models_asked,
        third.models_asked,
    )


def test_a_list_is_asked_for_at_most_once_in_five_minutes(serve):
    """Whether it has the name, has it not, or fails; a model that was loaded meanwhile is found then."""
    clock, server, broken = ManualClock(), serve("a"), serve(list_status=500)
    with made(at("ollama", server.url), at("vllm", broken.url), clock=clock) as dispatcher:
        for _ in range(5):
            with pytest.raises(ModelNotFound, match="vllm: does not have new, as far as is known; its list could not be read"):
                dispatcher.send(asked("new"))
        assert (1, 1) == (server.lists, broken.lists)
        server.models = ("a", "new")
        clock.advance(EVERY + 1)
        assert "ollama" == dispatcher.send(asked("new")).vendor

    assert (2, 2, []) == (server.lists, broken.lists, broken.prompts)


def test_a_list_that_fails_hides_no_other(serve):
    """And what a server said before still counts."""
    clock, server, broken = ManualClock(), serve("a"), serve("b")
    with made(at("ollama", server.url), at("vllm", broken.url), clock=clock) as dispatcher:
        assert "vllm" == dispatcher.send(asked("b")).vendor
        broken.list_status = 503
        clock.advance(EVERY + 1)
        with pytest.raises(ModelNotFound):
            dispatcher.send(asked("zzz"))
        assert ["vllm", "ollama"] == [dispatcher.send(asked(model)).vendor for model in "ba"]


def test_a_list_that_somebody_asked_for_counts(serve):
    """Of any vendor, local or not."""
    server = serve("hidden-gem")
    with made(at("openai", serve().url), at("groq", server.url)) as dispatcher:
        with pytest.raises(ModelNotFound):
            dispatcher.send(asked("hidden-gem"))
        assert ("hidden-gem",) == dispatcher.list_models("groq")
        assert "groq" == dispatcher.send(asked("hidden-gem")).vendor


def test_a_silent_server_holds_nobody_up_beyond_the_deadline():
    """The call ends in time; many calls that wait for one list ask for it once."""
    asked_for = []

    def silent(peer, wire):
        asked_for.append(wire.target)
        peer.wait(PATIENCE)

    silence = LoopbackServer(silent)
    dispatcher = Dispatcher()
    dispatcher.register_vendor(at("ollama", silence.url))
    dispatcher.register_vendor(at("openai", "http://127.0.0.1:9"))
    errors = []

    def ask():
        try:
            dispatcher.send(asked("zzz"), timeout=0.5)
        except Exception as error:
            errors.append(type(error).__name__)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    silence.close()
    dispatcher.close()

    assert ["DeadlineExceeded"] * 4 == errors


def test_calls_at_the_same_time_share_one_question(serve):
    """The others wait for its answer."""
    server = serve("a")
    with made(at("ollama", server.url), at("openai", serve().url), clock=SYSTEM_CLOCK) as dispatcher:
        start = threading.Barrier(8)

        def ask():
            start.wait(PATIENCE)
            read(dispatcher, asked("a"), streamed=False)

        threads = [threading.Thread(target=ask) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)

    assert (1, 8) == (server.lists, len(server.prompts))


def test_in_a_pool_a_bare_name_of_a_local_model_is_found(serve):
    """The first choice of a pool is not passed over for want of a list."""
    server, others = serve("our-llama"), serve()
    with made(at("openai", others.url), at("ollama", server.url), pools={"mine": ["our-llama", "openai:gpt-4o"]}) as dispatcher:
        assert "ollama" == dispatcher.send(asked("mine")).vendor

    assert [] == others.prompts


class Own(FakeVendor):
    """A server of the user's own making, whose list cannot be read."""

    kind = "ollama"

    def __init__(self, error):
        super().__init__("Here.", name="own")
        self.error, self.lists = error, 0

    def claim_on(self, model):
        return NameClaim.ANY

    def list_models(self, deadline):
        self.lists += 1
        raise self.error


@pytest.mark.parametrize("error", [KeyError("sk-secret"), TypeError("sk-secret"), OSError("sk-secret")], ids=repr)
def test_whatever_a_list_of_ones_own_raises_fails_no_call(serve, error):
    """It is a list that could not be read, for five minutes; its words, which may hold secrets, are not told."""
    own, server = Own(error), serve("a")
    with made(own, at("vllm", server.url)) as dispatcher:
        assert "vllm" == dispatcher.send(asked("a")).vendor
        with pytest.raises(ModelNotFound, match=f"its list could not be read: {type(error).__name__};") as raised:
            dispatcher.send(asked("zzz"))

    assert ("sk-secret" in str(raised.value), own.lists, own.hits) == (False, 1, 0)
