"""What ``extra_params`` may not say, and what they say of what a call costs: limits of tokens, text, what a vendor stores.

Names have a spelling of their own at each vendor; they are known whatever the case, and with or without underscores. Each kind of
name is a table. Those that replace something count at the top and in groups of settings (:data:`_SETTINGS`) only: elsewhere, in a
tool or in metadata, a "model" is another one.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import attrs

from ..errors import InvalidRequest
from .keywords import plain_name

_LIMITS = frozenset(
    {
        *("maxcompletiontokens", "maxgentokens", "maxgeneratedtokens", "maxgenlen", "maxlength", "maxnewtokens"),
        *("maxoutputtokens", "maxresponseoutputtokens", "maxresponsetokens", "maxtokens", "maxtokenstogenerate"),
        *("maxtokenstosample", "maxtokencount", "maximumtokens", "npredict", "numpredict", "tokenstogenerate"),
    }
)
"""Names of limits of an answer's tokens; https://docs.sambanova.ai/cloud/api-reference,
https://docs.aleph-alpha.com/api/complete and https://platform.minimaxi.com/document/ChatCompletion have the rarer ones."""
_THOUGHTS = frozenset(
    {"budgettokens", "maxthinkingtokens", "mintokens", "reasoningbudget", "thinkingbudget", "thinkingtokenbudget"}
)
_ANSWERS = frozenset({"bestof", "candidatecount", "n", "numcompletions", "numgenerations", "numresults", "numreturnsequences"})
_TELLING = _LIMITS | _THOUGHTS | _ANSWERS
_SETTINGS = frozenset(
    {
        *("", "additionalmodelrequestfields", "body", "config", "extra", "extrabody", "extraparams", "gateway"),
        *("generationconfig", "google", "inferenceconfig", "modelkwargs", "options", "parameters", "payload"),
        *("provideroptions", "request", "samplingparams", "vertex"),
    }
)
"""Where vendors look for settings: at the top, and in groups of these names."""
FIXED = frozenset(
    {
        *("content", "contents", "input", "instructions", "messages", "model", "requests", "stream", "system"),
        *("system_instruction", "systemInstruction"),
    }
)
"""What a request says itself, by the names that the wire formats have for it."""
_OTHER_MODELS = (
    *("model", "models", "defaultmodel", "modelid", "modelname", "engine", "deployment", "deploymentid", "deploymentname"),
    # https://openrouter.ai/docs/features/model-routing
    *("preset", "route", "fallback", "fallbacks", "fallbackmodel", "fallbackmodels"),
    *("modelconfig", "routingconfig"),  # https://cloud.google.com/vertex-ai/generative-ai/docs/model-reference/inference
)
_OTHER_TEXTS = (
    *("content", "contents", "input", "inputs", "instructions", "messages", "requests", "system", "systeminstruction"),
    *("systemprompt", "chathistory", "preamble"),
)
_REPLACING: Mapping[str, str] = {
    **dict.fromkeys(_OTHER_MODELS, "give the request another model, or name others by fallback_model"),
    **dict.fromkeys(("stream", "streaming"), "call send_streaming(), or send()"),
    **dict.fromkeys(_OTHER_TEXTS, "give it as messages, or as texts"),
    **dict.fromkeys(("extraheaders", "headers"), "give headers to the request itself, or to the vendor"),
    "extraquery": "give api_version to the vendor, or leave it out",
}
"""Names that replace what a request says or how it is sent, and what to do instead."""
_TO_VENDOR = "give it to the vendor, such as OpenAIVendor({})"
_OF_CLIENTS: Mapping[str, str] = {
    **dict.fromkeys(
        ("apikey", "accesstoken", "authorization", "authtoken", "azureadtoken", "bearertoken", "token"),
        _TO_VENDOR.format("api_key=..."),
    ),
    **dict.fromkeys(
        ("apibase", "apiurl", "azureendpoint", "baseurl", "endpoint", "endpointurl"), _TO_VENDOR.format("base_url=...")
    ),
    **dict.fromkeys(("defaultheaders", "organization"), _TO_VENDOR.format("headers={...}")),
    **dict.fromkeys(
        ("awsaccesskeyid", "awsregionname", "awssecretaccesskey", "awssessiontoken", "regionname"),
        "give it to the vendor, or set its variable",
    ),
    **dict.fromkeys(("vertexcredentials", "vertexlocation", "vertexproject"), "give it to the vendor, or set its variable"),
    **dict.fromkeys(("apitype", "apiversion", "defaultquery"), "give api_version to the vendor"),
    **dict.fromkeys(
        ("readtimeout", "requesttimeout", "streamtimeout", "timeout"), "give timeout= to the call, or Config(timeout=...)"
    ),
    **dict.fromkeys(("maxretries", "numretries"), "give Config(retry_policy=...)"),
    **dict.fromkeys(("httpclient", "proxies", "proxy", "sslverify", "verify"), "set HTTPS_PROXY or SSL_CERT_FILE"),
    "customllmprovider": "name the model 'vendor:model'",
    "dropparams": "give drop_params=True to the request",
}
"""Settings that other clients take beside those of a model, and what to do instead. Some are secrets; none is ever shown."""
_FIELDS: Mapping[str, str] = {
    **dict.fromkeys(_LIMITS, "max_tokens"),
    **dict.fromkeys(_ANSWERS - {"bestof"}, "n"),
    **dict.fromkeys(_THOUGHTS - {"mintokens"}, "reasoning_tokens"),
    **dict.fromkeys(("thinking.budgettokens", "thinkingconfig.thinkingbudget", "reasoning.maxtokens"), "reasoning_tokens"),
    **dict.fromkeys(("reasoningeffort", "effort", "reasoning.effort", "outputconfig.effort"), "reasoning_effort"),
    **dict.fromkeys(("thinkingconfig.thinkinglevel", "thinkinglevel"), "reasoning_effort"),
    **dict.fromkeys(("reasoningsummary", "reasoning.summary"), "reasoning_summary"),
    "temperature": "temperature",
    "topp": "top_p",
    "p": "top_p",
    "topk": "top_k",
    "k": "top_k",
    "frequencypenalty": "frequency_penalty",
    "presencepenalty": "presence_penalty",
    **dict.fromkeys(("seed", "randomseed"), "seed"),
    **dict.fromkeys(("logprobs", "responselogprobs"), "logprobs"),
    "toplogprobs": "top_logprobs",
    **dict.fromkeys(("stop", "stopsequences", "stopwords"), "stop"),
    **dict.fromkeys(("user", "enduserid"), "user"),
    **dict.fromkeys(("tools", "functions", "tooldefinitions", "toolconfig.tools"), "tools"),
    **dict.fromkeys(("toolchoice", "functioncall", "toolconfig.toolchoice", "toolconfig.functioncallingconfig"), "tool_choice"),
    "paralleltoolcalls": "parallel_tool_calls",
    **dict.fromkeys(
        ("responseformat", "format", "responseschema", "responsejsonschema", "responsemimetype", "guidedjson"), "response_format"
    ),
    **dict.fromkeys(("text.format", "outputconfig.format", "outputformat"), "response_format"),
    "promptcachekey": "prompt_cache_key",
    "servicetier": "service_tier",
    **dict.fromkeys(("dimensions", "outputdimension", "outputdimensionality"), "dimensions"),
}
"""What vendors call the fields of a request, alone or in a group of their own."""
_OWN_GROUPS = frozenset([name.partition(".")[0] for name in _FIELDS if "." in name])
_SHOWN = frozenset({*_OTHER_MODELS, "stream", "streaming"})
"""Those whose values are no content and no secret."""
_STORED = frozenset(
    {"background", "cachedcontent", "container", "conversation", "conversationid", "previousresponseid", "prompt", "threadid"}
)
"""Names by which a vendor adds to the input what it stores, or goes on with it later."""
_MOST_NODES = 1_000_000
_MOST_GROUPS = 16
"""Groups within each other, and values in all, that are looked through: parameters may go round in a circle."""
_LONGEST = 40
"""Characters of a number that is written as a text."""
_MOST = 10**18
"""More than any answer has, and few enough to reckon with; Python's whole numbers have no end."""


@attrs.frozen(kw_only=True)
class TokenLimits:
    """What ``extra_params`` say of what an answer may cost."""

    limits: tuple[int, ...] = ()
    """Limits of an answer's tokens; a negative one means that there is no end."""
    others: tuple[int, ...] = ()
    """Numbers of tokens that are no limit of an answer, such as those for thoughts; they may make it longer, never shorter."""
    answers: int = 1

    @classmethod
    def of(cls, params: Mapping[str, Any]) -> TokenLimits:
        """Look at all levels; most requests have no ``extra_params``."""
        if not params:
            return _NOTHING
        limits: list[int] = []
        others: list[int] = []
        answers = [1]
        for group, name, number in _numbers(params):
            if name in _LIMITS and group in _SETTINGS:
                limits.append(number)
            elif name in _LIMITS or name in _THOUGHTS:
                others.append(number)
            elif name in _ANSWERS and group in _SETTINGS:
                answers.append(number)
        return cls(limits=tuple(limits), others=tuple(others), answers=max(answers))

    @property
    def endless(self) -> bool:
        """Whether one of the limits takes the end away, as -1 does for local servers."""
        return min(self.limits, default=0) < 0

    def most(self, max_tokens: int | None) -> int | None:
        """The largest limit of an answer's tokens, that of the request among them; ``None`` where there is none, or no end."""
        if not self.limits:
            return max_tokens
        return None if self.endless else max(self.limits if max_tokens is None else (max_tokens, *self.limits))


_NOTHING = TokenLimits()


def _numbers(params: Mapping[str, Any]) -> Iterator[tuple[str, str, int]]:
    """The whole numbers of those names in mappings and lists, each with its group and name, also where one is written as a text."""
    seen = 0
    todo: list[tuple[str, str, Any]] = [("", "", params)]
    while todo and (seen := seen + 1) < _MOST_NODES:
        group, name, value = todo.pop()
        if name in _LIMITS and group in _SETTINGS and not _is_limit(value):
            yield group, name, -1  # "null", and what is no number, takes the request's own limit away
        elif isinstance(value, str | int | float):  # most are; to ask for a Mapping takes longer
            if name in _TELLING and (number := _whole_number(value)) is not None:
                yield group, name, number
        elif isinstance(value, Mapping):
            todo += [(name, plain_name(inner), one) for inner, one in value.items()]
        elif isinstance(value, list | tuple):
            todo += [(group, name, one) for one in value]


def _is_limit(value: Any) -> bool:
    """Whether a server may read a limit from it; 0, False and "unlimited" are none, or mean that there is no end."""
    if isinstance(value, list | tuple):
        return bool(value)  # each of them is looked at
    return isinstance(value, str | int | float) and bool(_whole_number(value))


def check_params(params: Mapping[str, Any]) -> None:
    """Raise :class:`InvalidRequest` for a name that replaces the model, the messages, whether to stream, or headers.

    And for a setting of a client, which no vendor reads in a body.
    """
    for path, name, value in _settings(params):
        if name in _OF_CLIENTS:
            raise InvalidRequest(f"extra_params: {'.'.join(path)!r} is no setting of a model and is not sent; {_OF_CLIENTS[name]}")
        if name in _REPLACING or (name == "prompt" and not isinstance(value, Mapping)):  # a mapping names a stored prompt
            shown = f"; it is {value!r:.80}" if name in _SHOWN else ""
            raise _replacement_error(".".join(path), _REPLACING.get(name, _REPLACING["messages"]) + shown)


def check_agreement(request: Any, params: Mapping[str, Any]) -> None:
    """Raise :class:`InvalidRequest` for a setting that contradicts the field of the request that it would replace."""
    for path, name, value in _settings(params):
        told = [(path, name, value)]
        if name in _OWN_GROUPS and isinstance(value, Mapping):
            told += [((*path, str(inner)), f"{name}.{plain_name(inner)}", one) for inner, one in value.items()]
        for at, known, said in told:
            field = _FIELDS.get(known)
            own = getattr(request, field, None) if field is not None else None
            if own is not None and own != () and not _agrees(own, said):
                place = ".".join(at)
                raise InvalidRequest(f"extra_params: {place!r} contradicts {field}= of the request; give one of the two")


def _agrees(own: Any, said: Any) -> bool:
    if isinstance(own, tuple):
        return list(own) == ([said] if isinstance(said, str) else list(said) if isinstance(said, list | tuple) else said)
    return isinstance(own, bool) == isinstance(said, bool) and bool(own == said)


def check_written(params: Mapping[str, Any], body: Mapping[str, Any]) -> None:
    """Raise :class:`InvalidRequest` where a request that was read from a wire format replaces what a codec has written in ``body``.

    Such a request may hold texts, or further models, under names that the codec did not write: they are its sender's.
    """
    written = frozenset([plain_name(name) for name, value in body.items() if value is not None])
    for name in params:
        plain = plain_name(name)
        if plain in _REPLACING and plain in written:
            raise _replacement_error(name, _REPLACING[plain])


def _replacement_error(name: str, remedy: str) -> InvalidRequest:
    return InvalidRequest(f"extra_params: {name!r} is what the request itself says; {remedy}")


def unseen_model(params: Mapping[str, Any]) -> str | None:
    """The first parameter that may name other models, whose prices were not checked; only requests from wire formats have one."""
    return next((".".join(path) for path, name, value in _settings(params) if name in _OTHER_MODELS and value), None)


def stored_param(params: Mapping[str, Any]) -> str | None:
    """The first name by which a vendor adds to the input what it stores, such as ``previous_response_id``; ``None`` without one."""
    if not params:
        return None
    return next((".".join(path) for path, name, value in _settings(params) if name in _STORED and value), None)


def predictions_in(params: Mapping[str, Any]) -> list[Any]:
    """The predictions of the answer; the parts of one that do not come true are billed as output.

    https://platform.openai.com/docs/guides/predicted-outputs
    """
    return [value for _path, name, value in _settings(params) if name == "prediction"] if params else []


def texts_in(value: Any) -> Iterator[str]:
    """All texts in mappings and lists, and the names within the values of a mapping."""
    seen, todo = 0, [value]
    while todo and (seen := seen + 1) < _MOST_NODES:
        inner = todo.pop()
        if isinstance(inner, str):
            yield inner
        elif isinstance(inner, Mapping):
            todo += inner.values()
            if inner is not value:
                yield from map(str, inner)
        elif isinstance(inner, list | tuple):
            todo += inner


def _settings(params: Mapping[str, Any]) -> Iterator[tuple[tuple[str, ...], str, Any]]:
    """Each setting: its path, the plain form of its name, and its value."""
    todo: list[tuple[tuple[str, ...], Any]] = [((), params)]
    while todo:
        path, group = todo.pop()
        for one in group if isinstance(group, list | tuple) else (group,):
            for name, value in one.items() if isinstance(one, Mapping) else ():
                place, plain = (*path, str(name)), plain_name(name)
                yield place, plain, value
                if plain in _SETTINGS and len(place) < _MOST_GROUPS:
                    todo.append((place, value))


def _whole_number(value: str | float) -> int | None:
    if isinstance(value, str):  # servers are lenient: "1e5" and " +100_000.0 " are numbers to some
        try:
            value = float(value) if len(value) <= _LONGEST else math.nan
        except ValueError:
            return None
    if isinstance(value, bool) or (isinstance(value, float) and not math.isfinite(value)):
        return None
    return min(math.ceil(value), _MOST)
