"""Requests that a dispatcher answers: conversations, embeddings, counts of tokens, and bodies that pass as they are."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import attrs

from ...catalog import vendor_row
from ...dispatcher import Dispatcher
from ...errors import ConfigError
from ...types import EmbeddingRequest, Message, Request, replace
from ...vendors import HttpVendor
from ...wire import COUNTING, EMBEDDING_CODECS, EmbeddingCodec, Inbound
from ..kept_ids import made_in, references_in
from ..keys import ApiKey
from .answers import VENDOR_ID, StreamedAnswer, WholeAnswer, facts_of, header_text, hide_own_key, stream_of
from .caching import may_cache
from .checks import check_media, check_output, check_settings, check_stateless, further_models, models_of_tools
from .formats import ITS_MODELS, MESSAGES, GatewayError, without_keys
from .http import GatewaySettings, Incoming, Task, client_credentials
from .limits import charging
from .models import ModelNames
from .passed_vectors import ClientEmbedding, PassedEmbeddings, VectorsDocument, check_parts, is_countable, no_texts
from .passing import Original, anthropic_headers, body_of, family, hashed_values
from .passthrough import check_stateless_document
from .service_format import in_service_format
from .sessions import note_request, session_of
from .state import GatewayState
from .targets import ClientRequest

_MAX_TIMEOUT = 3600.0
_ANY_MESSAGES = (Message.user("-"),)


class Conversations:
    """Answers requests that are read, checked and bound to their key, over the dispatcher of some ``names``."""

    def __init__(self, names: ModelNames, settings: GatewaySettings, state: GatewayState, *, own_credentials: bool) -> None:
        self._names, self._dispatcher, self._settings, self._state = names, names.dispatcher, settings, state
        self._takes_client_credentials = own_credentials

    def complete(self, task: Task) -> WholeAnswer | StreamedAnswer:
        """Answer a conversation in OpenAI's format, or as the LLM proxy service does where a body asks for that."""
        return in_service_format(task, self.converse)

    def generate(self, task: Task) -> WholeAnswer | StreamedAnswer:
        """Answer one of the methods of Google's models."""
        works: Mapping[str, Callable[[Task], WholeAnswer | StreamedAnswer]] = {
            "generateContent": self.converse,
            "streamGenerateContent": self.converse,
            "countTokens": self.count,
            "embedContent": self.embed,
            "batchEmbedContents": self.embed,
        }
        work = works.get(task.match["method"])
        if work is None:
            raise GatewayError(f"there is no such method here; use {', '.join(works)}", status=404, code="not_found")
        return work(task)

    def converse(self, task: Task) -> WholeAnswer | StreamedAnswer:
        """Answer a conversation, whole or as a stream, whichever vendor is asked."""
        asked, _document = self._asked(task)
        if task.record is not None:
            task.record.streamed = asked.stream
            self._state.log.dispatch(task.record)
        timeout = self._timeout(task.incoming)
        if task.charge is not None:
            seconds = None if asked.stream else timeout or self._settings.timeout
            targets = partial(self._names.billed_targets, streaming=asked.stream)
            asked = attrs.evolve(asked, request=task.charge.take(asked.request, targets, seconds, partial(self._with_model, task)))
        if not asked.stream:
            with charging(task.charge) as answered, self._state.leavers.watch(task.incoming.environ) as cancel:
                response = answered(self._dispatcher.send(asked.request, timeout=timeout or self._settings.timeout, cancel=cancel))
            if task.record is not None:
                task.record.answered(response)
            passed = body_of(response)
            if task.keep is not None and not response.cached:
                task.keep(made_in(json.loads(passed) if passed else {"id": response.response_id}))
            body = passed or task.form.codec.write_response(response, asked)
            return WholeAnswer(200, body, {"Content-Type": "application/json", **facts_of(response)})
        with charging(task.charge):
            stream = self._dispatcher.send_streaming(asked.request, timeout=timeout)
        answer = stream_of(stream, task, asked, self._settings, self._state.leavers)
        hide_own_key(answer.headers, self._dispatcher.get_vendor(stream.vendor or ""))
        return answer

    def _with_model(self, task: Task, request: Request, model: str) -> Request:
        """A request for another model, if its key may ask for that."""
        named = self._settings_of(task, model)["model"]
        if not isinstance(request, ClientRequest):
            return replace(request, model=named)
        return replace(request, model=named, allows=self._names.grants(task.key, request, named))

    def _asked(self, task: Task, *, marks: bool = True) -> tuple[Inbound, Original]:
        """What a body asks for, checked, with the model's name as the dispatcher has it, and its document."""
        incoming, codec = task.incoming, task.form.codec
        asked = codec.read_request(task.body, f"{incoming.path}?{incoming.query}")
        request = asked.request
        check_settings(request)
        check_output(request, self._settings.max_max_tokens)
        check_media(request)
        self._check_further_models(task.key, [*further_models(request.extra_params), *models_of_tools(request.tools)])
        if not self._settings.stateful:
            check_stateless(request)
        else:
            self._state.check_kept(task, references_in(json.loads(task.body)))
        organization = task.key.organization if task.key is not None else ""
        session = session_of(task.incoming, request)
        changes = self._settings_of(task, request.model)
        changes["metadata"] = {**request.metadata, **self._known_as(task, request)}
        if self._dispatcher.config.cache is not None and not may_cache(self._dispatcher, request):
            changes["cache"] = False
        if session is not None:
            changes |= {"session": f"{organization}\0{session}", "cache_key": self._state.tenants.hash_for(organization, session)}
        fields, hashed = hashed_values(request, partial(self._state.tenants.hash_for, organization))
        if headers := anthropic_headers(incoming):
            changes["headers"] = headers
        changes["allows"] = self._names.grants(task.key, request, changes["model"])
        changes["marks"] = self._settings.cache_marks
        changes["endless"] = isinstance(self._dispatcher.config.timeout, str) and self._timeout(incoming) is None
        beta = task.form is MESSAGES and "beta=true" in incoming.query.split("&")
        own = client_credentials(incoming) if self._takes_client_credentials else {}
        settings = self._settings if marks else attrs.evolve(self._settings, cache_marks=False)
        original = Original(task.body, asked, codec, hashed=hashed, settings=settings, beta=beta)
        bound = original.bind(ClientRequest.known(request, **{**changes, **fields}), own)
        return attrs.evolve(asked, created_at=self._state.clock.now(), request=bound), original

    @staticmethod
    def _known_as(task: Task, request: Request) -> dict[str, Any]:
        """What observers and a ledger are told of a request beside its fields: the tags of its key, its id, its session."""
        told: dict[str, Any] = {}
        if task.key is not None and (tags := task.key.all_tags):
            told = {"tags": tags, **{f"tag:{tag}": True for tag in tags}}  # which routing rules can compare
        return told if task.record is None else {**told, **note_request(task, task.record, request)}

    def _settings_of(self, task: Task, model: str) -> dict[str, Any]:
        """The model as the dispatcher names it, what the headers say, and whose the call is. Raises for a model that is a key."""
        if without_keys(model) != model:  # logs tell names of models
            raise GatewayError("model: this looks like a key, and is no model", status=404, code="model_not_found", param="model")
        named = self._names.named(model)
        incoming = task.incoming
        changes: dict[str, Any] = {"model": named}
        for header, field in (("x-llmdispatcher-mode", "mode"), ("x-llmdispatcher-profile", "profile")):
            if (value := incoming.header(header)) is not None:
                changes[field] = without_keys(value)  # a name, which logs tell
        if (incoming.header("x-llmdispatcher-cache") or "").lower() in ("false", "0", "no"):
            changes["cache"] = False
        if task.key is not None:
            changes["origin"] = task.key.organization
            changes["id_at_origin"] = task.key.id
        return changes

    def _check_further_models(self, key: ApiKey | None, named: Sequence[str | None]) -> None:
        """Raise for names of models in fields of a vendor's own that a key may not ask for: some vendors fall back to these."""
        if key is None or not key.limits_models:
            return
        if not all(one is not None and self._names.may_name(key, one) for one in named):
            text = f"models, fallbacks, tools: this key may not ask for all of these; {ITS_MODELS}"
            raise GatewayError(text, status=403, code="model_not_allowed", param="models")

    def _timeout(self, incoming: Incoming) -> float | None:
        """The seconds that a client gives a call; they may shorten what the gateway gives."""
        text = incoming.header("x-llmdispatcher-timeout")
        if text is None:
            return None
        try:
            seconds = float(text)
        except ValueError:
            seconds = 0.0
        if not 0 < seconds <= _MAX_TIMEOUT:
            raise GatewayError(
                f"x-llmdispatcher-timeout: {text[:20]!r} is no number of seconds up to {_MAX_TIMEOUT:g}",
                status=400,
                code="bad_timeout",
            )
        return seconds

    def embed(self, task: Task) -> WholeAnswer:
        """Answer a request for vectors."""
        codec = EMBEDDING_CODECS[task.form.codec.name]
        asked = codec.read_request(task.body, task.incoming.path)
        check_settings(asked)
        self._check_further_models(task.key, further_models(asked.extra_params))
        if self._settings.stateful:
            self._state.check_kept(task, references_in(json.loads(task.body)))
        else:
            check_stateless_document(asked.extra_params, references_in(asked.extra_params))
        if not asked.texts:
            self._check_no_texts(task, asked)
        sent = self._embedding_of(task, codec, asked)
        timeout = self._timeout(task.incoming) or self._settings.timeout
        if task.charge is not None:
            targets = lambda asked: self._names.billed_targets(replace(asked, messages=_ANY_MESSAGES))  # noqa: E731 - each fits by itself
            request = task.charge.take(sent.as_reserved(task.body), targets, timeout, partial(self._with_model, task))
            sent = attrs.evolve(sent, model=request.model, known={**sent.known, "allows": getattr(request, "allows", None)})
        with charging(task.charge) as answered, self._state.leavers.watch(task.incoming.environ) as cancel:
            if task.record is not None:
                self._state.log.dispatch(task.record)
            found = answered(self._dispatcher.send_embedding(sent, timeout=timeout, cancel=cancel))
        if task.record is not None:
            task.record.answered(found)
        if isinstance(found, PassedEmbeddings):
            body = found.body
        elif not asked.texts:  # of a vendor of the application's own
            raise no_texts(asked)
        else:
            body = codec.write_response(found, asked)
            if task.incoming.path.endswith(":embedContent"):
                body = json.dumps({"embedding": json.loads(body)["embeddings"][0]}).encode()
        headers = {"Content-Type": "application/json", **facts_of(found)}
        hide_own_key(headers, self._dispatcher.get_vendor(found.vendor or ""))
        return WholeAnswer(200, body, headers)

    def _check_no_texts(self, task: Task, asked: EmbeddingRequest) -> None:
        """Raise for what has no texts alone, and that guards or a budget cannot look into."""
        if self._dispatcher.config.guards:
            text = "input: the guards of this gateway read texts alone; send the text in place of tokens or files"
            raise GatewayError(text, status=400, code="invalid_request_error", param="input")
        if task.charge is not None and not is_countable(asked):
            text = "content: this key has a budget, and what files cost is not known before; send texts alone"
            raise GatewayError(text, status=403, code="model_unpriced", param="content")
        check_parts(asked)

    def _embedding_of(self, task: Task, codec: EmbeddingCodec, asked: EmbeddingRequest) -> ClientEmbedding:
        """What a body asks for, with the model's name as the dispatcher has it, and its document."""
        known = self._settings_of(task, asked.model)
        model, profile = known.pop("model"), known.pop("profile", None)
        organization = task.key.organization if task.key is not None else ""
        fields, hashed = hashed_values(asked, partial(self._state.tenants.hash_for, organization))
        extra = fields.pop("extra_params", asked.extra_params)
        extra = {name: value for name, value in extra.items() if name != "encoding_format"}  # the codecs want numbers
        asked = attrs.evolve(asked, **fields, model=model, profile=profile, extra_params=extra, drop_params=True)
        own = client_credentials(task.incoming) if self._takes_client_credentials else {}
        kept = self._settings.stateful
        document = VectorsDocument(task.body, codec, path=task.incoming.path, hashed=hashed, credentials=own, stateful=kept)
        sent = document.bind(asked, known)
        metadata = self._known_as(task, sent.as_request())
        allows = self._names.grants(task.key, sent.as_request(), model)
        return attrs.evolve(sent, metadata=metadata, known={**known, "allows": allows})

    def count(self, task: Task) -> WholeAnswer:
        """Answer how many tokens a conversation has."""
        asked, document = self._asked(task, marks=False)
        counted = self._dispatcher.count_tokens(asked.request, timeout=self._timeout(task.incoming) or self._settings.timeout)
        headers = {"Content-Type": "application/json"}
        if counted.vendor is not None:
            headers |= {"x-llmdispatcher-vendor": header_text(counted.vendor), "x-llmdispatcher-model": header_text(counted.model)}
        if document.count is not None:
            body, head = document.count
            told = {VENDOR_ID: head.request_id} if head.request_id is not None else {}
            hide_own_key(told, self._dispatcher.get_vendor(counted.vendor or ""))
            return WholeAnswer(200, body, {**head.limits, **headers, **told})
        counting = next(one for one in COUNTING.values() if one.codec is task.form.codec)
        return WholeAnswer(200, counting.write(counted.tokens), headers)


def takes_client_credentials(dispatcher: Dispatcher) -> bool:
    """Whether a vendor takes its clients' own. Raises :class:`ConfigError` for two of one format: one would see the other's."""
    found: dict[str, str] = {}
    for name in dispatcher.get_vendors():
        vendor = dispatcher.get_vendor(name)
        if isinstance(vendor, HttpVendor) and vendor.takes_client_credentials:
            row = vendor_row(vendor.kind)
            kind = family(row.codec) if row is not None else name
            if kind in found:
                raise ConfigError(f"vendors.{name}.credentials: {found[kind]} takes those of the same format, too; leave one out")
            found[kind] = name
    return bool(found)
