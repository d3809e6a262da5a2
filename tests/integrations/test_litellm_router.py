"""LiteLLM's Router: who is asked, what follows a failure, who is left alone and for how long."""

from __future__ import annotations

import pytest

import llmdispatcher
from llmdispatcher.integrations import litellm
from llmdispatcher.integrations.litellm import Router
from llmdispatcher.integrations.litellm.providers import Settled
from llmdispatcher.testing import ManualClock, VendorSimulator, faults

from ..cases import each
from ..threads import in_threads

HELLO = [{"role": "user", "content": "Why?"}]


@pytest.fixture(scope="module")
def loopback():
    """Four vendors on the loopback."""
    servers = [VendorSimulator().start() for _ in range(4)]
    yield servers
    for server in servers:
        server.close()


@pytest.fixture
def servers(loopback):
    """The same, each with its own answer and nothing heard yet."""
    for name, server in zip("abcd", loopback, strict=True):
        server.requests.clear()
        server._script.clear()
        server.always(f"from {name}")
    return dict(zip("abcd", loopback, strict=True))


@pytest.fixture
def clock():
    """Time that is moved by hand, and moves by itself where something waits."""
    return ManualClock()


@pytest.fixture
def make(servers, clock):
    """Make a router of entries such as ``("group", "a", {...})``."""
    made = []

    def router(entries, **settings):
        model_list = [
            {
                "model_name": group,
                "litellm_params": {
                    "model": "openai/gpt-4o-mini",
                    "api_key": f"sk-of-server-{server}",
                    "api_base": servers[server].openai_url,
                    **(further[0] if further else {}),
                },
                "model_info": {"id": server},
            }
            for group, server, *further in entries
        ]
        made.append(Router(model_list=model_list, settled=Settled(clock=clock), **settings))
        return made[-1]

    yield router
    for one in made:
        one.close()


def ask(router, model="main", **given):
    """Which server answers."""
    return router.completion(model=model, messages=HELLO, **given).choices[0].message.content[-1]


def hits(servers):
    """How often each server was asked."""
    return {name: len(server.requests) for name, server in servers.items() if server.requests}


# Who is asked


def test_calls_are_shared_by_weight(make, servers, clock):
    """By weight, else rpm, else tpm, else by chance; a weight of 0 gets none."""
    clock._chances = iter([0.1, 0.7, 0.9] * 3)
    by_weight = make([("main", "a", {"weight": 3}), ("main", "b", {"weight": 1}), ("main", "c", {"weight": 0})])
    by_rpm = make([("main", "a", {"rpm": 30}), ("main", "b", {"rpm": 10})])
    by_chance = make([("main", "a"), ("main", "b")])

    assert ["a", "a", "b"] == [ask(by_weight) for _ in range(3)]
    assert ["a", "a", "b"] == [ask(by_rpm) for _ in range(3)]
    assert ["a", "b", "b"] == [ask(by_chance) for _ in range(3)]


def test_strategies(make, clock):
    """The least busy, the quickest, the least used, the cheapest."""
    two = [("main", "a"), ("main", "b")]
    busy = make(two, routing_strategy="least-busy")
    quick = make(two, routing_strategy="latency-based-routing")
    used = make(two, routing_strategy="usage-based-routing-v2")
    cheap = make([("main", "a"), ("main", "b", {"model": "openai/gpt-4.1-nano"})], routing_strategy="cost-based-routing")
    busy.get_deployment("a").in_flight = 2
    quick.get_deployment("a").times.append(2.0)
    quick.get_deployment("b").times.append(1.0)
    first = ask(used)

    assert ["b", "b", "b"] == [ask(busy), ask(quick), ask(cheap)]
    assert {"a", "b"} == {first, ask(used)}
    with pytest.raises(ValueError, match="routing_strategy: 'fast' is not there; use one of simple-shuffle"):
        make(two, routing_strategy="fast")


def test_orders(make, servers):
    """The lowest order first; the next where that has failed."""
    router = make([("main", "a", {"order": 2}), ("main", "b", {"order": 1})], num_retries=1)
    servers["b"].script("from b", faults.status(500))

    assert ["b", "a"] == [ask(router), ask(router)]


def test_names(make):
    """Groups, aliases, hidden ones, ids and patterns; another name is refused with those that there are."""
    router = make(
        [("main", "a"), ("openai/*", "b", {"model": "openai/*"}), ("*", "c", {"model": "openai/gpt-4o"})],
        model_group_alias={"gpt-4": "main", "secret": {"model": "main", "hidden": True}},
    )
    assert ["a", "a", "a", "b", "c"] == [ask(router, name) for name in ("main", "gpt-4", "secret", "openai/gpt-4.1", "other")]
    assert ask(router, "a") == "a"
    assert ["*", "main", "openai/*", "gpt-4"] == router.get_model_names()
    assert "gpt-4.1" == router.completion("openai/gpt-4.1", HELLO).model
    bare = make([("main", "a")])
    with pytest.raises(litellm.BadRequestError, match=r"model=none\. There are no healthy deployments.*there are main"):
        ask(bare, "none")
    for odd in (None, 3, ["main"], b"main"):
        with pytest.raises(litellm.BadRequestError, match="is no name; give one of main"):
            ask(bare, odd)
    with pytest.raises(litellm.BadRequestError, match="output_cost_per_token: 'x' is no price of a token"):
        make([("main", "a", {"output_cost_per_token": "x"})])


def test_tags(make):
    """Deployments with one of a call's tags, or with all; those of the default where there are none."""
    entries = [("main", "a", {"tags": ["free"]}), ("main", "b", {"tags": ["paid", "eu"]}), ("main", "c", {"tags": ["default"]})]
    router = make(entries, enable_tag_filtering=True)
    strict = make(entries[:2], enable_tag_filtering=True, tag_filtering_match_any=False)

    assert ["a", "b", "c", "c"] == [
        ask(router, metadata={"tags": ["free"]}),
        ask(router, tags=["eu", "other"]),
        ask(router),
        ask(router, tags=["nobody"]),
    ]
    assert "b" == ask(strict, tags=["eu", "paid"])
    with pytest.raises(litellm.BadRequestError, match="Not allowed to access model due to tags"):
        ask(strict, tags=["eu", "free"])


def test_limits(make, servers, clock):
    """A deployment that has reached its rpm or tpm is passed over until the minute is over; with all full it is said."""
    router = make([("main", "a", {"rpm": 2, "weight": 1}), ("main", "b", {"rpm": 1, "weight": 0.0001})], num_retries=0)
    asked = [ask(router) for _ in range(3)]
    with pytest.raises(litellm.exceptions.RouterRateLimitError, match="they have reached their rpm") as caught:
        ask(router)
    stream = make([("main", "c", {"rpm": 1})], num_retries=0)
    list(stream.completion("main", HELLO, stream=True))
    with pytest.raises(litellm.exceptions.RouterRateLimitError):
        ask(stream)
    clock.advance(61)

    assert ["a", "a", "b"] == asked
    assert (429, "main") == (caught.value.status_code, caught.value.model)
    assert isinstance(caught.value, ValueError)
    assert "a" == ask(router)
    tokens = make([("main", "d", {"tpm": 5})], num_retries=0)
    ask(tokens)
    with pytest.raises(litellm.exceptions.RouterRateLimitError):
        ask(tokens)


def test_headers(make, servers):
    """Those of a deployment are its own, those of a call are sent beside them, and both count for its limits."""
    router = make([("main", "a", {"rpm": 2, "extra_headers": {"X-Deployment": "d"}})], num_retries=0)
    for number in range(2):
        ask(router, extra_headers={"X-Call": f"{number}"})
    with pytest.raises(litellm.exceptions.RouterRateLimitError):
        ask(router, extra_headers={"X-Call": "2"})

    sent = [(request.headers["x-deployment"], request.headers["x-call"]) for request in servers["a"].requests]
    assert [("d", "0"), ("d", "1")] == sent


def test_headers_of_both(make, servers):
    """Of one name, in whatever case, that of the deployment is sent."""
    router = make([("main", "a", {"extra_headers": {"X-Team": "d"}})])
    ask(router, extra_headers={"x-team": "c"})

    assert "d" == servers["a"].requests[0].headers["x-team"]


def test_a_mocked_stream_that_is_left(make):
    """Does not count as under way for ever."""
    router = make([("main", "a")])
    with router.completion("main", HELLO, stream=True, mock_response="It is blue.") as stream:
        next(stream)

    assert 0 == router.get_deployment("a").in_flight


def test_a_deployment_in_the_ledger(servers, tmp_path):
    """Is a vendor of its own, named by its id, the same in every process."""
    ledger = tmp_path / "calls.db"
    params = {"model": "openai/gpt-4o-mini", "api_key": "sk-of-server-a", "api_base": servers["a"].openai_url}
    entries = [{"model_name": "main", "litellm_params": params, "model_info": {"id": name}} for name in ("eu-1", "https://eu/2")]
    with Router(model_list=entries, settled=Settled(ledger=ledger)) as router:
        for entry in entries:
            ask(router, entry["model_info"]["id"])
    with llmdispatcher.open_ledger(ledger) as calls:
        vendors = {call.vendor for call in calls.list_recent_calls()}

    assert "openai-eu-1" in vendors
    assert 2 == len(vendors)


def test_at_most_so_many_at_once(make, servers):
    """max_parallel_requests is for calls under way, streams among them; the next goes to another deployment."""
    router = make([("main", "a", {"max_parallel_requests": 1, "order": 1}), ("main", "b", {"order": 2})])
    servers["a"].always(faults.stall_after(1))
    with router.completion("main", HELLO, stream=True) as stream:
        next(stream)
        assert "b" == ask(router)


# Failures


def test_retries(make, servers, clock):
    """Another deployment at once; the same one after a wait, and no longer than num_retries says."""
    router = make([("main", "a", {"order": 1}), ("main", "b", {"order": 2})], num_retries=2)
    servers["a"].always(faults.status(500))
    assert "b" == ask(router)
    assert [] == clock.sleeps
    alone = make([("main", "c")], num_retries=2, retry_after=3)
    servers["c"].script(faults.status(503), faults.status(503))
    assert "c" == ask(alone)
    assert [3, 3] == clock.sleeps
    servers["c"].always(faults.status(503))
    with pytest.raises(litellm.ServiceUnavailableError):
        ask(alone, num_retries=1)
    servers["d"].always(faults.status(400))
    mistaken = make([("main", "d")])
    with pytest.raises(litellm.BadRequestError):
        ask(mistaken)

    assert {"a": 1, "b": 1, "c": 5, "d": 1} == hits(servers)


def test_retries_by_the_kind_of_failure(make, servers):
    """A policy says how often, for all groups or for one."""
    policy = litellm.RetryPolicy(InternalServerErrorRetries=1, RateLimitErrorRetries=0)
    router = make(
        [("main", "a"), ("other", "b")], retry_policy=policy, model_group_retry_policy={"other": {"InternalServerErrorRetries": 3}}
    )
    for server in "ab":
        servers[server].always(faults.status(500))
        with pytest.raises(litellm.InternalServerError):
            ask(router, "main" if server == "a" else "other")

    assert {"a": 2, "b": 4} == hits(servers)
    with pytest.raises(ValueError, match="RetriesByError: 'Retries' is not there; it has ContentPolicyViolationErrorRetries"):
        litellm.RetryPolicy(Retries=1)


@each(
    "fault, field, asked",
    [
        (faults.status(500), "fallbacks", ["a", "b"]),
        (faults.status(401), "fallbacks", ["a", "b"]),
        (faults.status(400), "fallbacks", ["a", "b"]),
        (faults.rate_limit(5), "fallbacks", ["a", "b"]),
        (faults.context_overflow(), "context_window_fallbacks", ["a", "c"]),
        (faults.filtered(), "content_policy_fallbacks", ["a", "d"]),
    ],
)
def test_fallbacks_by_the_kind_of_failure(make, servers, clock, fault, field, asked):
    """Each kind has its own; one that has none takes those for all kinds."""
    for server in servers.values():
        server.requests.clear()
    groups = [("main", "a"), ("spare", "b"), ("long", "c"), ("lax", "d")]
    chains = {"fallbacks": "spare", "context_window_fallbacks": "long", "content_policy_fallbacks": "lax"}
    every = {name: [{"main": [group]}] for name, group in chains.items()}
    servers["a"].script(fault)
    router = make(groups, num_retries=0, **every)
    assert asked[-1] == ask(router)
    assert asked == list(hits(servers))
    servers["a"].script(fault)
    other = make(groups, num_retries=0, fallbacks=[{"main": ["spare"]}])
    assert "b" == ask(other)
    servers["a"].script(fault)
    default = make(groups, num_retries=0, default_fallbacks=["lax"])
    assert "d" == ask(default)
    servers["a"].script(fault)
    nobody = make(groups, num_retries=0)
    assert "b" == ask(nobody, **{field: [{"main": ["spare"]}]})


def test_chains_of_fallbacks(make, servers):
    """In order, those of a fallback too, each group once, no deeper than max_fallbacks; the first failure is raised, with notes."""
    groups = [("main", "a"), ("spare", "b"), ("long", "c"), ("lax", "d")]
    for server in "abc":
        servers[server].always(faults.status(500))
    router = make(groups, num_retries=0, fallbacks=[{"main": ["spare", "lax"]}, {"spare": ["long", "main"]}, {"long": ["main"]}])
    assert "d" == ask(router)
    assert {"a": 1, "b": 1, "c": 1, "d": 1} == hits(servers)
    servers["d"].always(faults.status(503))
    with pytest.raises(litellm.InternalServerError) as caught:
        ask(router)
    assert {"main", "spare", "long", "lax"} > {note.split()[2] for note in caught.value.__notes__}
    with pytest.raises(litellm.InternalServerError):
        ask(router, disable_fallbacks=True)
    assert 3 == len(servers["a"].requests)
    shallow = make(groups, num_retries=0, max_fallbacks=0, fallbacks=[{"main": ["spare"]}])
    with pytest.raises(litellm.InternalServerError):
        ask(shallow)


def test_fallbacks_with_arguments(make, servers):
    """A fallback may change the messages; a key of the call goes to its own group alone."""
    router = make([("main", "a"), ("spare", "b")], num_retries=0)
    servers["a"].always(faults.status(500))
    other = [{"role": "user", "content": "Shorter?"}]
    answer = router.completion("main", HELLO, api_key="sk-of-the-call", fallbacks=[{"model": "spare", "messages": other}])

    assert "from b" == answer.choices[0].message.content
    assert other == servers["b"].requests[-1].json["messages"]
    keys = [servers[name].requests[-1].headers["authorization"] for name in "ab"]
    assert ["Bearer sk-of-the-call", "Bearer sk-of-server-b"] == keys


def test_pretended_failures(make, servers):
    """mock_testing_fallbacks and the like try the fallbacks out."""
    chains = {"fallbacks": "spare", "context_window_fallbacks": "long"}
    router = make([("main", "a"), ("spare", "b"), ("long", "c")], **{name: [{"main": [group]}] for name, group in chains.items()})

    assert ["b", "c"] == [ask(router, mock_testing_fallbacks=True), ask(router, mock_testing_context_fallbacks=True)]
    assert "a" not in hits(servers)


# Cooldowns


def test_cooldowns(make, servers, clock):
    """After allowed_fails failures in a minute a deployment is left alone for cooldown_time; with all resting it is said."""
    router = make([("main", "a", {"order": 1}), ("main", "b", {"order": 2})], allowed_fails=1, cooldown_time=30, num_retries=1)
    servers["a"].always(faults.status(500))
    assert "bbbb" == "".join(ask(router) for _ in range(4))
    assert 2 == len(servers["a"].requests)
    servers["a"].always("from a")
    clock.advance(29)
    assert "b" == ask(router)
    clock.advance(1.5)
    assert "a" == ask(router)
    for server in "ab":
        servers[server].always(faults.status(500))
    for _ in range(4):
        with pytest.raises((litellm.InternalServerError, litellm.exceptions.RouterRateLimitError)):
            ask(router)
    asked = hits(servers)
    with pytest.raises(litellm.exceptions.RouterRateLimitError, match=r"Try again in 30 seconds.*left alone") as caught:
        ask(router)
    assert asked == hits(servers)
    assert {"a", "b"} == set(caught.value.cooldown_list)
    router.flush_cache()
    with pytest.raises(litellm.InternalServerError):
        ask(router)


def test_who_is_left_alone(make, servers, clock):
    """Not a deployment without another; not after a mistake of the caller's; a busy one for as long as it asks."""
    alone = make([("main", "a")], allowed_fails=0, cooldown_time=60, num_retries=0)
    servers["a"].always(faults.status(500))
    for _ in range(3):
        with pytest.raises(litellm.InternalServerError):
            ask(alone)
    two = make([("main", "b", {"order": 1}), ("main", "c", {"order": 2})], num_retries=0)
    servers["b"].script(faults.status(400))
    with pytest.raises(litellm.BadRequestError):
        ask(two)
    assert "b" == ask(two)
    servers["b"].script(faults.rate_limit(20))
    with pytest.raises(litellm.RateLimitError):
        ask(two)
    assert "c" == ask(two)
    clock.advance(21)
    assert "b" == ask(two)
    never = make([("main", "b", {"order": 1}), ("main", "c", {"order": 2})], num_retries=0, disable_cooldowns=True)
    servers["b"].script(faults.status(401))
    with pytest.raises(litellm.AuthenticationError):
        ask(never)
    assert "b" == ask(never)


def test_allowed_fails_by_the_kind_of_failure(make, servers):
    """A policy says how many."""
    policy = litellm.AllowedFailsPolicy(InternalServerErrorAllowedFails=0)
    router = make([("main", "a", {"order": 1}), ("main", "b", {"order": 2})], allowed_fails_policy=policy, num_retries=0)
    servers["a"].script(faults.status(500))
    with pytest.raises(litellm.InternalServerError):
        ask(router)

    assert "b" == ask(router)


def test_a_stream_that_breaks_off_counts(make, servers):
    """As a failure of its deployment; one that does not begin is tried elsewhere."""
    router = make([("main", "a", {"order": 1}), ("main", "b", {"order": 2})], allowed_fails=0, num_retries=1)
    servers["a"].script(faults.cut_after(1))
    with pytest.raises(litellm.APIConnectionError):
        list(router.completion("main", HELLO, stream=True))
    assert "b" == ask(router)
    router.reset()
    servers["a"].script(faults.status(500))
    pieces = list(router.completion("main", HELLO, stream=True))
    assert "from b" == "".join(piece.choices[0].delta.content or "" for piece in pieces if piece.choices)
    assert [0, 0] == [router.get_deployment(name).in_flight for name in "ab"]


def test_timeouts(make, servers):
    """Of the call, the deployment, the router; each try has its own."""
    servers["a"].always(faults.silent())
    router = make([("main", "a", {"timeout": 0.05, "order": 1}), ("main", "b", {"order": 2})], num_retries=1, timeout=30)
    assert "b" == ask(router)
    short = make([("main", "a")], num_retries=0, stream_timeout=0.05)
    with pytest.raises(litellm.Timeout):
        short.completion("main", HELLO, stream=True)


# Money


def test_budgets_of_vendors_and_deployments(make, servers, clock):
    """What is over its budget is passed over until its time is over."""
    router = make(
        [("main", "a", {"max_budget": 0.000001, "budget_duration": "1h", "order": 1}), ("main", "b", {"order": 2})], num_retries=0
    )
    assert ["a", "b", "b"] == [ask(router) for _ in range(3)]
    clock.advance(3601)
    assert "a" == ask(router)
    whole = make([("main", "c")], provider_budget_config={"openai": {"budget_limit": 0.000001, "time_period": "1d"}})
    ask(whole)
    with pytest.raises(litellm.BudgetExceededError, match="crossed budget"):
        ask(whole)
    with pytest.raises(ValueError, match="budget of 'openai'"):
        make([("main", "c")], provider_budget_config={"openai": {"budget_limit": 1, "time_period": "soon"}})


def test_what_was_used_and_spent_is_not_kept_for_ever(make, clock):
    """Whatever the strategy; what comes at about the same time is one entry, and counts whole."""
    router = make([("main", "a")], provider_budget_config={"openai": {"budget_limit": 1, "time_period": "1h"}})
    deployment = router.get_deployment("a")
    for _ in range(3):
        ask(router)
    used, spent = len(deployment.used), list(deployment.spent)
    cost = litellm.completion_cost(router.completion("main", HELLO))
    clock.advance(3601)
    ask(router)

    assert (3, 1, 1, 1) == (used, len(spent), len(deployment.used), len(deployment.spent))
    assert spent[0][1] == pytest.approx(3 * cost)


def test_callbacks_know_the_deployment(make, servers):
    """Group, id and the call's own metadata are in theirs."""
    heard = []
    litellm.success_callback = [lambda kwargs, *_: heard.append(kwargs["litellm_params"]["metadata"])]
    router = make([("main", "a")], model_group_alias={"alias": "main"})
    answer = router.completion("alias", HELLO, metadata={"team": "x"})
    litellm.success_callback = []

    assert ("alias", "a", "x") == (heard[0]["model_group"], heard[0]["model_info"]["id"], heard[0]["team"])
    assert "a" == answer._hidden_params["model_id"]


# The model list and the settings


def test_the_model_list_changes(make, servers):
    """Deployments come and go while the router works."""
    router = make([("main", "a")])
    params = {"model": "openai/gpt-4o", "api_key": "sk-other-0000", "api_base": servers["b"].openai_url}
    added = router.add_deployment(
        litellm.Deployment(model_name="new", litellm_params=litellm.types.router.LiteLLM_Params(**params), model_info={"id": "b"})
    )
    assert ("b", None) == (
        added.id,
        router.add_deployment({"model_name": "new", "litellm_params": params, "model_info": {"id": "b"}}),
    )
    assert "b" == ask(router, "new")
    assert "a" == router.delete_deployment("a").id
    assert ({"new"}, ["b"]) == (router.model_names, router.get_model_ids())
    router.set_model_list([{"model_name": "main", "litellm_params": params, "tpm": 5}] * 2)
    assert 2 == len(set(router.get_model_ids()))
    assert [5, 5] == [entry["litellm_params"]["tpm"] for entry in router.get_model_list("main")]
    assert "sk-other-0000" not in f"{router._deployments}"
    assert "main" == router.get_available_deployment("main")["model_name"]
    router.update_settings(num_retries=7, fallbacks=[{"main": ["new"]}])
    assert (7, [{"main": ["new"]}]) == (router.get_settings()["num_retries"], router.fallbacks)
    with pytest.raises(ValueError, match=r"fallbacks\[0\]: str is no fallback"):
        router.update_settings(fallbacks=["new"])


def test_a_deployment_that_goes_while_it_is_asked(make, servers):
    """Its failure is the call's, and counts for nobody."""
    router = make([("main", "a")], num_retries=0)
    servers["a"].script(faults.cut_after(1))
    stream = router.completion("main", HELLO, stream=True)
    router.delete_deployment("a")
    with pytest.raises(litellm.APIConnectionError):
        list(stream)


def test_fallbacks_of_an_alias(make, servers):
    """Go by the name of the call, as LiteLLM's do; a failure says so."""
    router = make(
        [("main", "a"), ("spare", "b")], num_retries=0, fallbacks=[{"main": ["spare"]}], model_group_alias={"alias": "main"}
    )
    servers["a"].always(faults.status(500))
    with pytest.raises(litellm.InternalServerError) as caught:
        ask(router, "alias")
    assert ["fallbacks: 'main' has some, but not its alias 'alias'; name the alias there"] == caught.value.__notes__
    assert "b" == ask(router)


@each(
    "settings, told",
    [
        ({"model_list": [{"model_name": "m"}]}, r"model_list\[0\]\.litellm_params: give a dict with 'model'"),
        ({"model_list": [{"litellm_params": {"model": "x"}}]}, r"model_list\[0\]\.model_name: None is no name"),
        ({"model_list": ["m"]}, r"model_list\[0\]: str is no deployment"),
        ({"fallbacks": ["m"]}, r"fallbacks\[0\]: str is no fallback; give \{'group'"),
        ({"fallbacks": [{"m": "n"}]}, r"fallbacks\[0\]: dict is no fallback"),
        ({"redis_host": "x"}, "redis_host: it is not there; give configure"),
        ({"plugins": [1]}, "plugins: it is not there"),
        ({"num_retrys": 1}, "num_retrys: the Router has no such argument"),
        ({"allowed_fails_policy": {"RateLimitErrorAllowed": 1}}, "'RateLimitErrorAllowed' is not there"),
    ],
)
def test_settings_that_cannot_be(settings, told):
    """Are refused by their names and places."""
    with pytest.raises(ValueError, match=told):
        Router(**settings)


def test_what_a_router_has_not_says_so(make):
    """By its name."""
    router = make([("main", "a")])
    with pytest.raises(AttributeError, match="no 'acompletion'; call from threads"):
        _ = router.acompletion
    with pytest.raises(AttributeError, match=r"no 'image_generation'; docs/from-litellm\.md"):
        _ = router.image_generation
    with pytest.raises(ValueError, match="plugins: it cannot be changed"):
        router.update_settings(plugins=1)


def test_many_threads(make, servers):
    """Share a router: each call is answered, and nothing is left counted."""
    router = make([("main", "a"), ("main", "b")], num_retries=3, allowed_fails=1000)
    servers["a"].error_rate, servers["a"].seed = 0.0, 1
    servers["a"].script(*[faults.status(500)] * 10)
    found = []

    def work():
        found.extend(ask(router) for _ in range(10))

    in_threads(work, 8)

    assert 80 == len(found)
    assert [0, 0] == [router.get_deployment(name).in_flight for name in "ab"]
