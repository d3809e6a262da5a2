"""Names that users write by hand: which one a wrong name was meant to be, and constructors and calls that suggest it.

CPython suggests the right keyword from version 3.13 on, and never says that a setting belongs to another call.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from types import MappingProxyType
from typing import Any, TypeVar, cast

Callee = TypeVar("Callee", bound=Callable[..., Any])

_ALIKE = 0.74
_ELSEWHERE: Mapping[str, tuple[str, ...]] = {
    "ai": ("assistant",),
    "apibase": ("base_url",),
    "apiurl": ("base_url",),
    "azureapikey": ("AZURE_OPENAI_API_KEY",),
    "azureendpoint": ("base_url",),
    "bot": ("assistant",),
    "chatgpt": ("openai",),
    "claude": ("anthropic",),
    "claudeapikey": ("ANTHROPIC_API_KEY",),
    "cafile": ("ca_bundle",),
    "cert": ("client_cert",),
    "certfile": ("client_cert",),
    "defaultheaders": ("headers",),
    "endpoint": ("base_url",),
    "extraheaders": ("headers",),
    "proxies": ("proxy",),
    "proxyurl": ("proxy",),
    "verify": ("ca_bundle",),
    "gpt": ("openai",),
    "grok": ("xai",),
    "grokapikey": ("XAI_API_KEY",),
    "human": ("user",),
    "input": ("messages", "texts"),
    "key": ("api_key",),
    "inputschema": ("parameters",),
    "maxattempts": ("max_retries",),
    "maxcompletiontokens": ("max_tokens",),
    "maxnewtokens": ("max_tokens",),
    "maxoutputtokens": ("max_tokens",),
    "model": ("assistant",),
    "prompt": ("messages",),
    "provider": ("vendor", "default_vendor"),
    "providers": ("vendors",),
    "responsemodel": ("response_format",),
    "retries": ("max_retries", "retry_policy"),
    "rpm": ("requests_per_minute",),
    "schema": ("response_format", "parameters"),
    "stopsequences": ("stop",),
    "token": ("api_key",),
    "tpm": ("tokens_per_minute",),
    "vendor": ("default_vendor", "name"),
}
"""What other libraries call a setting, and what it is called here."""

REQUEST_REMEDIES: Mapping[str, str] = {
    "cancel": "give it to the call: dispatcher.send(request, cancel=...)",
    "provider": "name the model 'vendor:model', or use dispatcher.send_to_vendor(vendor, request)",
    "stream": "use dispatcher.send_streaming(request)",
    "system": "begin messages with Message.system(...)",
    "timeout": "give it to the call: dispatcher.send(request, timeout=...)",
    "vendor": "name the model 'vendor:model', or use dispatcher.send_to_vendor(vendor, request)",
}
"""Where a setting of a call belongs that is no field of a request."""


def closest_name(word: Any, known: Iterable[str], alike: float = _ALIKE) -> str | None:
    """Return the name that a word probably means, or ``None``. It may be misspelt, or be another library's word for it.

    ``alike``, from 0 to 1, is how much like a name the word must be.
    """
    names = {plain_name(name): name for name in known}
    wanted = plain_name(word)
    if wanted in names:
        return names[wanted]
    for name in _ELSEWHERE.get(wanted, ()):
        if name in names.values():
            return name
    near = [name for name in names if sorted(name) == sorted(wanted)] or get_close_matches(wanted, names, 1, alike)
    if near:
        return names[near[0]]
    parts = _parts(names.values())
    close = get_close_matches(wanted, parts, 1, alike)
    return parts[close[0]] if close else None


def _parts(names: Iterable[str]) -> dict[str, str]:
    """Each part of a name that no other of the names has, with that name: ``pattern`` for ``model_pattern``."""
    split = [(part, name) for name in names for part in name.split("_") if "_" in name]
    counts = Counter([part for part, _ in split])
    return {part: name for part, name in split if counts[part] == 1}


def choices(word: Any, known: Iterable[str], otherwise: str = "it takes {}") -> str:
    """Return the end of an error's text: the name that a wrong word probably means, or all names."""
    known = list(known)
    name = closest_name(word, known)
    return f"did you mean {name!r}?" if name is not None else otherwise.format(", ".join(known) or "nothing")


def plain_name(word: Any) -> str:
    """A name as servers compare it that read any case, such as those written in Go: without underscores and hyphens."""
    return str(word).casefold().replace("_", "").replace("-", "")


def keyword_error(callee: str, given: Iterable[str], known: Iterable[str], remedies: Mapping[str, str]) -> TypeError:
    """Return the error for an unknown keyword; ``remedies`` say where a setting of another call belongs."""
    known = list(known)
    word = next(name for name in given if name not in known)
    hint = remedies.get(word) or choices(word, known)
    return TypeError(f"{callee}() got an unexpected keyword argument {word!r}; {hint}")


def suggest(callee: Callee, remedies: Mapping[str, str] = MappingProxyType({})) -> Callee:
    """Decorate a class or function so that its ``TypeError`` suggests the right keyword for a wrong one.

    ``remedies`` say where settings belong that others take.
    """
    if isinstance(callee, type):
        made: Any = callee
        made.__init__ = _with_hint(made.__init__, callee.__name__, remedies)
        return callee
    return cast(Callee, _with_hint(callee, callee.__name__, remedies))


def _with_hint(function: Any, name: str, remedies: Mapping[str, str]) -> Any:
    code = function.__code__
    known = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]

    @functools.wraps(function)
    def checked(*args: Any, **given: Any) -> Any:
        try:
            return function(*args, **given)
        except TypeError:  # looked at afterwards: a call without a mistake pays nothing for it
            if given.keys() <= set(known):
                raise
        raise keyword_error(name, given, [word for word in known if word != "self"], remedies)

    return checked
