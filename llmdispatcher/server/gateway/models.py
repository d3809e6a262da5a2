"""Names of models: what a client's name means here, which a key may ask for, and the lists that clients read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...catalog import Target, canonical, model_facts, model_names
from ...dispatcher import Dispatcher
from ...errors import DispatchError
from ...types import Request, replace
from ..keys import ApiKey
from .answers import WholeAnswer, json_answer
from .checks import further_models, models_of_tools
from .formats import GOOGLE, ITS_MODELS, MESSAGES, OLLAMA, GatewayError
from .http import Task, form_of
from .targets import ClientRequest, Grants

_MOST_FURTHER = 16
_EPOCH = "1970-01-01T00:00:00Z"


class ModelNames:
    """The names that a dispatcher answers to, as each key sees them."""

    def __init__(self, dispatcher: Dispatcher) -> None:
        self.dispatcher = dispatcher

    def models(self, task: Task) -> WholeAnswer:
        """List the names that a key may ask for: pools, ``auto``, and the models of the registered vendors."""
        names, form = self._names(task.key), form_of(task.incoming)
        if form is GOOGLE:
            listed: Any = {"models": [self._google_record(name) for name in names]}
        elif form is OLLAMA:
            listed = {"models": [{"name": name, "model": name, "modified_at": _EPOCH, "size": 0, "digest": ""} for name in names]}
        elif form is MESSAGES:
            listed = {
                "data": [self._anthropic_record(name) for name in names],
                "has_more": False,
                "first_id": names[0] if names else None,
                "last_id": names[-1] if names else None,
            }
        else:
            listed = {"object": "list", "data": [_model_record(name) for name in names]}
            if "client_version=" in task.incoming.query:  # Codex reads its own records here, and keeps its own table where none is
                listed["models"] = []
        return json_answer(listed)

    def model(self, task: Task) -> WholeAnswer:
        """Show one name, if a key may ask for it."""
        name = task.match["model"]
        named, names = self.named(name), self._names(task.key)
        if named not in names and not (":" not in named and any(one.partition(":")[2] == named for one in names)):
            raise GatewayError(
                "model: there is no such model here; GET /v1/models lists all", status=404, code="model_not_found", param="model"
            )
        form = form_of(task.incoming)
        if form is GOOGLE:
            record = self._google_record(name)
        elif form is MESSAGES:
            record = self._anthropic_record(name)
        else:
            record = _model_record(name)
        return json_answer(record)

    def _google_record(self, name: str) -> dict[str, Any]:
        methods = ["generateContent", "streamGenerateContent", "countTokens"]
        window, most = self._limits_of(name)
        limits = {"inputTokenLimit": window, "outputTokenLimit": most}
        known = {field: value for field, value in limits.items() if value is not None}
        return {"name": f"models/{name}", "displayName": name, "supportedGenerationMethods": methods, **known}

    def _anthropic_record(self, name: str) -> dict[str, Any]:
        """Its schema wants every field; what is not known is null."""
        window, most = self._limits_of(name)
        limits = {"max_input_tokens": window, "max_tokens": most, "capabilities": None}
        return {"type": "model", "id": name, "display_name": name, "created_at": _EPOCH, **limits}

    def _limits_of(self, name: str) -> tuple[int | None, int | None]:
        """The most tokens of input and of output, where a name is that of a model whose facts are known."""
        vendor, _, model = name.partition(":")
        kind = getattr(self.dispatcher.get_vendor(canonical(vendor)), "kind", None)
        facts = model_facts(kind, model, vendor) if kind is not None else None
        return (facts.context_window or None, facts.max_tokens or None) if facts is not None else (None, None)

    def _names(self, key: ApiKey | None) -> list[str]:
        vendors = self.dispatcher.get_vendors()
        kinds = {name: getattr(self.dispatcher.get_vendor(name), "kind", None) for name in vendors}
        pools = list(self.dispatcher.config.pools or ())
        models = [f"{name}:{model}" for name, kind in kinds.items() if kind is not None for model in model_names(kind)]
        names = [*pools, "auto", *models]
        return [name for name in names if self._is_shown(key, name)]

    def _is_shown(self, key: ApiKey | None, name: str) -> bool:
        grants = Grants.of(key, name, self.dispatcher)
        if grants is None:
            return True
        return grants.allows_named(name) if ":" in name else self._has_target(grants, Request(name, "-"))

    def grants(self, key: ApiKey | None, request: Request, model: str) -> Grants | None:
        """Whom a key may ask for a model; ``None``: anybody. Raises where there is nobody, be the model known or not."""
        grants = Grants.of(key, model, self.dispatcher)
        if grants is not None and not grants.is_certain and not self._has_target(grants, replace(request, model=model)):
            text = f"model: this key may not ask for {model[:80]!r}, or none of the vendors that it may use has it; {ITS_MODELS}"
            raise GatewayError(text, status=403, code="model_not_allowed", param="model")
        return grants

    def _has_target(self, grants: Grants, request: Request) -> bool:
        """Whether any target of a request may be asked."""
        try:
            return bool(self.targets(ClientRequest.known(request, allows=grants)))
        except DispatchError:
            return False

    def targets(self, request: Request, *, streaming: bool = False) -> Sequence[Target]:
        """Whom the dispatcher would ask."""
        return self.dispatcher.explain(request, streaming=streaming).targets

    def billed_targets(self, request: Request, *, streaming: bool = False) -> Sequence[Target]:
        """Whom the dispatcher would ask, and the models that a request lets these vendors ask, which they bill."""
        asked = self.targets(request, streaming=streaming)
        found = list(asked)
        models = {*further_models(request.extra_params), *models_of_tools(request.tools)}
        if len(models) > _MOST_FURTHER:
            text = f"models: {len(models)} more are named; this key has a budget, which takes {_MOST_FURTHER} at most"
            raise GatewayError(text, status=400, code="invalid_request_error", param="models")
        for model in models:
            for vendor in {target.vendor for target in asked}:
                try:
                    found += self.targets(Request(f"{vendor}:{model}", "-", failover=False))
                except DispatchError:  # of one that is not known, nor is what it costs
                    found.append(Target(vendor=vendor, model=f"{model}"))
        return found

    def may_name(self, key: ApiKey, model: str) -> bool:
        """Whether a key may ask for a name that a vendor resolves by itself, as it is written, or as ours.

        It is asked as any model is (:class:`Grants`), but that nobody knows the target: the globs must speak of the name.
        """
        found = [Grants.of(key, one, self.dispatcher) for one in {model, self.named(model)}]
        return any(grants is None or grants.names_it for grants in found)

    def named(self, name: str) -> str:
        """A name with a slash, as other gateways have it, as ours: ``openai/gpt-4o`` where openai is registered."""
        head, slash, tail = name.partition("/")
        if name in self.dispatcher.config.pools:
            return name
        if slash and tail and ":" not in head and self.dispatcher.get_vendor(canonical(head)) is not None:
            return f"{head}:{tail}"
        return name


def _model_record(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 0, "owned_by": name.partition(":")[0] if ":" in name else "llmdispatcher"}
