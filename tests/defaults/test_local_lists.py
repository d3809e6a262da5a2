"""Local servers are asked for their lists before an unknown name is refused: rarely, within the deadline, without a prompt."""

import re
import threading

import pytest

from llmdispatcher import (
    Capabilities,
    DeadlineExceeded,
    Dispatcher,
    DispatchError,
    InvalidRequest,
    ModelNotFound,
    VendorUnavailable,
    vendor,
)
from llmdispatcher.catalog import NameClaim
from llmdispatcher.runtime import SYSTEM_CLOCK
from llmdispatcher.testing import FakeVendor, LoopbackServer, ManualClock

from ..conftest import PATIENCE
from ..threads import in_threads
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
            assert ((kind,), True) == (plan.unread, plan.route.hint.endswith("has not been read yet; it would be read first."))
            assert f"{kind}  skipped: its list of models has not been read yet; it would be read first" in str(plan)
        assert ["unread"] == [skip.code for skip in plan.skipped if skip.vendor == kind]
        with pytest.raises(ModelNotFound, match="it would be read first"):
            dispatcher.resolve_alias("our-llama")
        with pytest.raises(ModelNotFound, match="is known to have the model"):
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
            with pytest.raises(
                ModelNotFound, match=r"the list of vllm could not be read: .* Write 'vllm:new' to ask vllm all the same"
            ):
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
    """The name is refused long before; many calls that wait for one list ask for it once."""
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
            dispatcher.send(asked("zzz"), timeout=4.0)
        except Exception as error:
            errors.append(type(error).__name__)

    in_threads(ask, 4)
    silence.close()
    dispatcher.close()

    assert (["ModelNotFound"] * 4, ["/api/tags"]) == (errors, asked_for)


def test_calls_at_the_same_time_share_one_question(serve):
    """The others wait for its answer."""
    server = serve("a")
    with made(at("ollama", server.url), at("openai", serve().url), clock=SYSTEM_CLOCK) as dispatcher:
        start = threading.Barrier(8)

        def ask():
            start.wait(PATIENCE)
            read(dispatcher, asked("a"), streamed=False)

        in_threads(ask, 8)

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
        with pytest.raises(ModelNotFound, match=rf"the list of own could not be read: {type(error).__name__}\)") as raised:
            dispatcher.send(asked("zzz"))

    assert ("sk-secret" in str(raised.value), own.lists, own.hits) == (False, 1, 0)


class Listing(FakeVendor):
    """A local server of the user's own making: it lists some models, or raises, and counts how often it is asked for its list."""

    def __init__(self, kind, names=(), error=None):
        super().__init__("Here.", name="own")
        self.kind, self.names, self.error, self.lists, self.patience = kind, names, error, 0, []

    def claim_on(self, model):
        return NameClaim.ANY

    def model_for(self, model):
        return model

    def list_models(self, deadline):
        self.lists += 1
        self.patience.append(deadline.remaining())
        if self.error is not None:
            raise self.error
        return self.names


class TestHanging:
    """A list that never comes takes a share of one call in five minutes, and of none that another vendor answers."""

    class Hanging(Listing):
        """Its list takes all the time that it is given."""

        def list_models(self, deadline):
            super().list_models(deadline)
            deadline.sleep(3600.0)

    @pytest.mark.parametrize("streamed", [False, True])
    @pytest.mark.parametrize("timeout", [1.5, 4.5, 8.0, None])
    def test_a_known_member_of_a_pool_is_asked_at_once(self, serve, streamed, timeout):
        """Whatever comes after it in the pool."""
        own, clock = self.Hanging("vllm"), ManualClock()
        vendors = [at("openai", serve().url), own]
        with made(*vendors, clock=clock, pools={"p": ["gpt-4o-mini", "my-own-llama"]}) as dispatcher:
            began = clock.monotonic()
            for _ in range(3):
                if streamed:
                    answer = dispatcher.send_streaming(asked("p"), timeout=timeout).response()
                else:
                    answer = dispatcher.send(asked("p"), timeout=timeout)
                assert "openai" == answer.vendor

            assert (0, began) == (own.lists, clock.monotonic())

    def test_a_member_whose_list_hangs_is_passed_over_in_time(self, serve):
        """Where it comes first its list is read, briefly and once."""
        own, clock = self.Hanging("vllm"), ManualClock()
        vendors = [at("openai", serve().url), own]
        with made(*vendors, clock=clock, pools={"p": ["my-own-llama", "gpt-4o-mini"]}) as dispatcher:
            began = clock.monotonic()
            assert ["openai"] * 3 == [dispatcher.send(asked("p"), timeout=1.5).vendor for _ in range(3)]

            assert (1, 0.375) == (own.lists, pytest.approx(clock.monotonic() - began))

    @pytest.mark.parametrize("timeout", [0.4, 2.0, None])
    def test_a_name_that_nobody_has_is_refused_in_time(self, serve, timeout):
        """With what may have been meant; the second call does not wait."""
        own, clock = self.Hanging("vllm"), ManualClock()
        with made(at("openai", serve().url), own, clock=clock) as dispatcher:
            for _ in range(3):
                with pytest.raises(ModelNotFound, match=r"Did you mean .*gpt-4o"):
                    dispatcher.send(asked("gtp-4o"), timeout=timeout)

        assert 1 == own.lists

    def test_a_list_that_ends_with_the_call_is_kept_as_failed(self, serve):
        """Such as that of a vendor of one's own which looks at no deadline."""
        clock = ManualClock()

        class Deaf(Listing):
            def list_models(self, deadline):
                super().list_models(deadline)
                clock.advance(60.0)
                raise TimeoutError

        own = Deaf("vllm")
        with made(at("openai", serve().url), own, clock=clock) as dispatcher:
            with pytest.raises((DeadlineExceeded, ModelNotFound)):
                dispatcher.send(asked("gtp-4o"), timeout=2.0)
            with pytest.raises(ModelNotFound, match="Did you mean"):
                dispatcher.send(asked("gtp-4o"), timeout=2.0)

        assert 1 == own.lists


class TestLater:
    """A member of a pool that only its list tells of is found when the known ones have failed."""

    POOL = {"p": ["gpt-4o-mini", "our-llama"]}

    @pytest.mark.parametrize("streamed", [False, True])
    @pytest.mark.parametrize("config", [{}, {"cache": {}}, {"hedge": {}}, {"continuation": True}], ids=str)
    def test_it_answers(self, serve, streamed, config):
        """In the same call, whatever the configuration."""
        server = serve("our-llama")
        with made(at("openai", serve(status=503).url), at("ollama", server.url), pools=self.POOL, **config) as dispatcher:
            assert "ollama:our-llama" == read(dispatcher, asked("p"), streamed=streamed).ref

        assert 1 == server.lists

    def test_it_leaves_time(self, serve):
        """A silent member has its share of the deadline, as if the other were known."""
        silence = LoopbackServer(lambda peer, wire: peer.wait(PATIENCE))
        vendors = [at("openai", silence.url), at("ollama", serve("our-llama").url)]
        with made(*vendors, pools=self.POOL, clock=SYSTEM_CLOCK, retry_policy={"max_retries": 0}) as dispatcher:
            stream = dispatcher.send_streaming(asked("p"), timeout=4.0)
            assert "ollama" == stream.response().vendor
        silence.close()

    def test_a_failure_that_does_not_pass_ends_the_call(self, serve):
        """No list is read."""
        server = serve("our-llama")
        with made(at("openai", serve(status=400).url), at("ollama", server.url), pools=self.POOL) as dispatcher:
            with pytest.raises(InvalidRequest):
                dispatcher.send(asked("p"))
            assert "list of ollama is read when it is needed" in str(dispatcher.explain(asked("p")))

        assert 0 == server.lists

    def test_send_to_vendor_finds_it(self, serve):
        """Nobody else may be asked, so that its list is needed."""
        with made(at("openai", serve().url), at("ollama", serve("our-llama").url), pools=self.POOL) as dispatcher:
            assert "ollama:our-llama" == dispatcher.send_to_vendor("ollama", asked("p")).ref


class TestFallback:
    """A local server as the fallback vendor is asked for one of its own models, which its list tells."""

    LISTED = ("nomic-embed-text:latest", "gpt-oss:120b-cloud", "qwen3:8b", "llama3:latest")

    @pytest.mark.parametrize("streamed", [False, True])
    @pytest.mark.parametrize("kind", LOCAL)
    def test_its_own_model_answers(self, serve, kind, streamed):
        """The first that it lists which answers prompts and runs there; the name of the first vendor's model is never asked for."""
        down, server = serve(status=503), serve("text-embed", "qwen3:8b", "llama3:latest")
        with made(at("openai", down.url), at(kind, server.url), fallback_vendor=kind) as dispatcher:
            plan = dispatcher.explain(asked("gpt-4o-mini"))
            assert (["openai"], 0) == ([target.vendor for target in plan.targets], server.lists)
            assert "its list of models has not been read yet" in str(plan)
            for _ in range(3):
                answer = read(dispatcher, asked("gpt-4o-mini"), streamed=streamed)
                assert (kind, "qwen3:8b") == (answer.vendor, answer.model)
            assert "gpt-4o-mini" == dispatcher.explain(asked("gpt-4o-mini")).targets[-1].stands_in_for

        assert ({"qwen3:8b"}, 1) == ({*server.models_asked}, server.lists)

    def test_what_would_leave_the_machine_comes_last(self, serve):
        """Ollama lists the models of its cloud beside those that run there."""
        server = serve(*self.LISTED)
        with made(at("openai", serve(status=503).url), at("ollama", server.url), fallback_vendor="ollama") as dispatcher:
            assert "ollama:qwen3:8b" == dispatcher.send(asked("gpt-4o-mini")).ref

    def test_a_model_that_it_has_itself_is_asked_for(self, serve):
        """By the name of the request."""
        server = serve("qwen3:8b", "shared")
        vendors = [at("vllm", serve("shared", status=503).url), at("ollama", server.url)]
        with made(*vendors, fallback_vendor="ollama") as dispatcher:
            dispatcher.list_models("vllm")
            assert "ollama:shared" == dispatcher.send(asked("shared")).ref

    @pytest.mark.parametrize(
        ("config", "vendor"),
        [
            ({"fallback_model": "mine"}, {}),
            ({}, {"default_model": "mine"}),
            ({}, {"model_map": {"gpt-*": "mine"}}),
            ({}, {"models": ("mine",)}),
        ],
        ids=["fallback_model", "default_model", "model_map", "models"],
    )
    def test_a_model_that_is_named_needs_no_list(self, serve, config, vendor):
        """Nobody is asked for one."""
        server = serve(*self.LISTED)
        spare = at("ollama", server.url, **vendor)
        with made(at("openai", serve(status=503).url), spare, fallback_vendor="ollama", **config) as dispatcher:
            assert "ollama:mine" == dispatcher.send(asked("gpt-4o-mini")).ref

        assert 0 == server.lists

    @pytest.mark.parametrize("streamed", [False, True])
    @pytest.mark.parametrize("kind", LOCAL)
    def test_a_list_that_cannot_be_read_is_told(self, serve, kind, streamed, caplog):
        """In the error, the explanation and the log, with what to set; the first vendor is asked all the same, the other is not."""
        down, server = serve(status=503), serve("a", list_status=500)
        with made(at("openai", down.url), at(kind, server.url), fallback_vendor=kind) as dispatcher:
            for _ in range(3):
                with pytest.raises(VendorUnavailable) as raised:
                    read(dispatcher, asked("gpt-4o-mini"), streamed=streamed)
                assert "its list of models could not be read" in str(raised.value)
                assert "Config(fallback_model=...)" in str(raised.value)
            assert "its list of models could not be read" in str(dispatcher.explain(asked("gpt-4o-mini")))

        warned = [record.getMessage() for record in caplog.records if "fallback vendor" in record.getMessage()]
        assert (1, [], 1) == (server.lists, server.prompts, len(warned))

    def test_a_server_of_unknown_make_without_a_list_is_asked_for_a_name_that_is_nobodys(self, serve):
        """It was named, and its models cannot be known."""
        first, other = serve(status=503), serve(list_status=404)
        vendors = [at("local", first.url), vendor("local", name="b", base_url=other.url, api_key="k-loopback-0")]
        with made(*vendors, default_vendor="local", fallback_vendor="b") as dispatcher:
            assert "b:m-1" == dispatcher.send(asked("m-1")).ref

        assert ["m-1"] == other.models_asked

    def test_a_list_without_a_model_that_answers_is_told(self, serve):
        """Such as that of a server on which only a model of vectors is loaded."""
        server = serve("nomic-embed-text:latest")
        with (
            made(at("openai", serve(status=503).url), at("ollama", server.url), fallback_vendor="ollama") as dispatcher,
            pytest.raises(VendorUnavailable, match="its list of models names none that answers prompts"),
        ):
            dispatcher.send(asked("gpt-4o-mini"))

        assert [] == server.prompts

    @pytest.mark.parametrize("streamed", [False, True])
    def test_its_list_is_read_only_when_it_is_needed(self, streamed):
        """Not as long as another answers, unless what the configuration wants needs two vendors from the beginning."""
        first, own = FakeVendor("First.", name="first", capabilities=Capabilities(models=("m",))), Listing("ollama", ("theirs",))
        with made(first, own, fallback_vendor="own") as dispatcher:
            assert "first" == read(dispatcher, asked("m"), streamed=streamed).vendor
            assert 0 == own.lists
            assert "first" == read(dispatcher, asked("m", continue_broken=True), streamed=streamed).vendor

        assert int(streamed) == own.lists

    @pytest.mark.parametrize(("timeout", "most"), [(100.0, 2.0), (4.0, 1.0)])
    def test_its_list_is_waited_for_briefly(self, timeout, most):
        """Two seconds at most, and a quarter of the deadline, so that there is time to ask it."""
        down = VendorUnavailable("no", retry_here=False)
        first, own = FakeVendor(down, name="first", capabilities=Capabilities(models=("m",))), Listing("ollama", ("theirs",))
        with made(first, own, fallback_vendor="own") as dispatcher:
            response = dispatcher.send(asked("m"), timeout=timeout)
            assert ("own", "theirs") == (response.vendor, response.trace[-1].model)
            assert "in place of m" in str(response.trace)

        assert [most] == own.patience

    def test_a_silent_server_holds_nobody_up(self, serve):
        """The first vendor answers, and nobody asks the other for its list."""
        asked_for = []

        def silent(peer, wire):
            asked_for.append(wire.target)
            peer.wait(PATIENCE)

        silence = LoopbackServer(silent)
        vendors = [at("openai", serve().url), at("ollama", silence.url)]
        with made(*vendors, fallback_vendor="ollama", clock=SYSTEM_CLOCK) as dispatcher:
            assert ["openai"] * 2 == [dispatcher.send(asked("gpt-4o-mini"), timeout=60.0).vendor for _ in range(2)]
        silence.close()

        assert [] == asked_for

    @pytest.mark.parametrize("kind", ["ollama", "vllm", "lmstudio", "llamacpp"])
    def test_alone_it_stands_in_for_a_model_of_another_vendor(self, serve, kind):
        """An unknown name it is asked for as it is, and where its list cannot be read any name."""
        server, broken = serve("qwen3:8b"), serve(list_status=500)
        with made(at(kind, server.url), default_vendor="openai", fallback_vendor=kind) as dispatcher:
            assert ["qwen3:8b", "company-chat"] == [
                dispatcher.send(asked(model)).model for model in ("gpt-4o-mini", "company-chat")
            ]
        with made(at(kind, broken.url), fallback_vendor=kind) as dispatcher:
            assert "gpt-4o-mini" == dispatcher.send(asked("gpt-4o-mini")).model

    def test_vectors_are_asked_of_nobody_else(self, serve):
        """Those of two models cannot be compared."""
        server = serve("nomic-embed-text", "qwen3:8b")
        with made(at("openai", serve(status=503).url), at("ollama", server.url), fallback_vendor="ollama") as dispatcher:
            with pytest.raises(VendorUnavailable):
                dispatcher.embed("text-embedding-3-small", ["x"])
            assert "vendor" != dispatcher.count_tokens(asked("zzz")).source

        assert [] == server.prompts


class TestOpen:
    """A request that names no model goes to one that a local server lists."""

    @pytest.mark.parametrize("streamed", [False, True])
    @pytest.mark.parametrize("kind", LOCAL)
    def test_the_first_that_answers_prompts(self, serve, kind, streamed):
        """By ``auto``, by ``vendor:auto``, and by ``send_to_vendor``; a second list is asked for by none of them."""
        server = serve("bge-m3:latest", "mxbai-embed-large", "qwen3:8b", "llama3:latest")
        with made(at(kind, server.url)) as dispatcher:
            for model in ("auto", f"{kind}:auto", "AUTO"):
                assert f"{kind}:qwen3:8b" == read(dispatcher, asked(model), streamed=streamed).ref
            assert f"{kind}:qwen3:8b" == dispatcher.send_to_vendor(kind, asked("auto")).ref
            assert [f"{kind}:qwen3:8b", f"{kind}:llama3:latest"] == [str(to) for to in dispatcher.explain(asked("auto")).targets]

        assert 1 == server.lists

    def test_by_send_to_vendor_first(self, serve):
        """Beside a vendor whose models are known, too."""
        server = serve("llama3:latest")
        with made(at("openai", serve().url), at("ollama", server.url)) as dispatcher:
            assert "ollama:llama3:latest" == dispatcher.send_to_vendor("ollama", asked("auto")).ref

    def test_a_model_that_is_named_comes_first(self, serve):
        """``default_model`` needs no list."""
        server = serve("qwen3:8b")
        with made(at("ollama", server.url, default_model="mine")) as dispatcher:
            assert "ollama:mine" == dispatcher.send(asked("auto")).ref

        assert 0 == server.lists

    def test_beside_a_vendor_whose_models_are_known_no_list_is_asked_for(self, serve):
        """There is a model to choose."""
        server, known = serve("qwen3:8b"), serve()
        with made(at("openai", known.url), at("ollama", server.url)) as dispatcher:
            assert "openai" == dispatcher.send(asked("auto")).vendor

        assert 0 == server.lists

    @pytest.mark.parametrize(
        ("settings", "told"),
        [
            ({"list_status": 500}, "its list of models could not be read"),
            ({"models": ()}, "does not have a model in its list that answers prompts"),
            ({"models": ("nomic-embed-text",)}, "does not have a model in its list that answers prompts"),
        ],
        ids=["fails", "empty", "vectors"],
    )
    def test_without_a_model_it_is_refused(self, serve, settings, told):
        """With the reason, and what to set."""
        kind = VendorUnavailable if "list_status" in settings else ModelNotFound
        server = serve(*settings.pop("models", ("a",)), **settings)
        with made(at("ollama", server.url)) as dispatcher, pytest.raises(kind, match=told) as raised:
            dispatcher.send(asked("auto"))

        assert ("models=" in str(raised.value), []) == (True, server.prompts)

    def test_vectors_need_a_name(self, serve):
        """No model that answers prompts is asked for vectors."""
        server = serve("qwen3:8b", "nomic-embed-text")
        with made(at("vllm", server.url)) as dispatcher:
            with pytest.raises(InvalidRequest):
                dispatcher.embed("auto", ["x"])
            assert "vllm" == dispatcher.embed("nomic-embed-text", ["x"]).vendor

        assert ["nomic-embed-text"] == server.models_asked


@pytest.mark.parametrize("first", ["anthropic:claude-haiku-4-5", "zzz"])
def test_a_reference_means_the_same_whatever_was_asked_before(serve, first):
    """It names a vendor that has the model, so that no other's list makes it its own; where none has it, a list does."""
    server = serve("anthropic:claude-haiku-4-5", "mistral:7b", "qwen")
    with made(at("vllm", server.url), at("groq", serve().url)) as dispatcher:
        for name in (first, "zzz", "anthropic:claude-haiku-4-5"):
            with pytest.raises(DispatchError):
                dispatcher.send(asked(name))
        assert "vllm" == dispatcher.send(asked("mistral:7b")).vendor

    assert ["mistral:7b"] == server.models_asked


@pytest.mark.parametrize("odd", ["", " ", "\t", "a\nb", " llama", "\u200b", "x" * 5_000])
def test_what_can_be_no_name_is_dropped_from_a_list(serve, odd):
    """Whoever says it, a server or a vendor of one's own."""
    server, own = serve(odd, "llama3"), Listing("vllm", (odd, None, 7, "llama4"))
    with made(at("ollama", server.url)) as dispatcher:
        assert "llama3" == dispatcher.send(asked("auto")).model
        assert ("llama3",) == dispatcher.list_models("ollama")
    with made(own) as dispatcher:
        assert "llama4" == dispatcher.send(asked("auto")).trace[-1].model


@pytest.mark.parametrize(
    ("kinds", "name", "meant"),
    [
        (("openai",), "gtp-4o", "Did you mean 'gpt-4o'?"),
        (("openrouter", "groq"), "mistralai/mistral-9", "Did you mean 'openrouter:mistralai/mistral-9'?"),
        (("openai", "groq"), "openai/gpt-4o-mini", "Did you mean 'openai:gpt-4o-mini'?"),
    ],
)
def test_only_what_is_as_near_as_the_nearest_is_suggested(serve, kinds, name, meant):
    """And the registered vendor that has such names, not one that is not there."""
    own = FakeVendor(name="x", capabilities=Capabilities(models=("m",)))
    vendors = [at(kind, serve().url) for kind in kinds]
    with made(*vendors, own) as there, pytest.raises(ModelNotFound, match=re.escape(meant)):
        there.send(asked(name))
