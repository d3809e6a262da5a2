"""Read the prompts of a batch: lines of JSON, or lines of plain text.

A JSON line is a :class:`~llmdispatcher.Request` (``model``, ``messages``, ...), a bare ``{"prompt": ...}``, or a line of OpenAI's
batch format (``custom_id``, ``method``, ``url``, ``body``). A file in which no line is a JSON object has a plain prompt a line.
Each line is read as a request or reported as invalid, with its number and the field. What cannot be a file of prompts at all, such
as a binary file or UTF-16, is an error of the whole file, so that no part of it is sent.
"""

from __future__ import annotations

import codecs
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import nullcontext
from hashlib import blake2b
from itertools import count, islice
from pathlib import Path
from typing import IO, Any

import attrs

from ..errors import ConfigError, DispatchError, InvalidRequest
from ..types import ANY_MODEL, EmbeddingRequest, Request, check_params, choices, closest_name
from ..wire import CODECS, EMBEDDING_CODECS

STDIN = "standard input"
"""The name, in errors, of a file without one."""
MAX_LINE = 64 << 20
"""Bytes of one line; vendors take requests of up to about 50 MB."""
MAX_ID = 512
"""Characters of an id, which is printed with each failure."""
_LONGEST_TEXT = 400
"""Characters of an error, which may quote a value as long as the line."""
_FIELDS = tuple(field.name for field in attrs.fields(Request))
_ENCODINGS = {
    codecs.BOM_UTF32_LE: "UTF-32",
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}
"""By the mark at the beginning of a file. Longer marks come first, since one begins like a shorter one."""


@attrs.frozen
class Prompt:
    """One line that can be sent. ``id`` is the line's own, or its number; ``key`` is the fingerprint of the line."""

    line: int
    id: str | int
    request: Request | EmbeddingRequest
    key: str = ""

    @property
    def routing_request(self) -> Request:
        """The request by which targets are chosen."""
        return self.request if isinstance(self.request, Request) else self.request.as_request()


@attrs.frozen
class InvalidLine:
    """One line that cannot be sent; ``text`` begins with the field that is wrong."""

    line: int
    id: str | int
    text: str


PromptLine = Prompt | InvalidLine


def read_prompts(file: Path | IO[bytes], limit: int | None = None, *, model: str | None = None) -> list[PromptLine]:
    """Read all lines but blank ones, at most ``limit``.

    ``model`` is asked by lines that name no model; without it they are invalid, but for plain text and ``{"prompt": ...}``, which
    ask ``"auto"``. Raises :class:`~llmdispatcher.ConfigError` for a file that cannot be read, has no prompt, or is no UTF-8 text.
    """
    name = str(file) if isinstance(file, Path) else STDIN
    try:
        with file.open("rb") if isinstance(file, Path) else nullcontext(file) as stream:
            lines = list(islice(_lines(stream, name), limit))
    except OSError as error:
        raise ConfigError(f"{name}: {error.strerror}; give a file of prompts, a line each, or - for standard input") from None
    if not lines:
        raise ConfigError(f"{name}: there is no prompt in it; give one JSON object or one text a line")
    is_json = any(isinstance(line.value, dict) for line in lines) or lines[0].data[:1] in (b"{", b"[")
    found = [_json_prompt(line, model) for line in lines] if is_json else [_plain_prompt(line, model, name) for line in lines]
    return list(_reject_repeated_ids(found))


@attrs.frozen
class _Line:
    """A stripped line; ``value`` is its JSON, ``mistake`` says why it has none."""

    number: int
    data: bytes
    value: Any = None
    mistake: str = ""
    is_utf8: bool = True


def _lines(stream: IO[bytes], name: str) -> Iterator[_Line]:
    for number in count(1):
        data = stream.readline(MAX_LINE + 1)
        if not data:
            return
        where = f"{name}:{number}"
        if len(data) > MAX_LINE:
            raise ConfigError(f"{where}: the line is longer than {MAX_LINE >> 20} MiB, which no vendor takes; split the prompt")
        if number == 1:
            mark = next((mark for mark in _ENCODINGS if data.startswith(mark)), None)
            if mark is not None:
                raise ConfigError(f"{name}: this is {_ENCODINGS[mark]}; save it as UTF-8")
            data = data.removeprefix(codecs.BOM_UTF8)
        if b"\0" in data:
            raise ConfigError(f"{where}: there is a zero byte in it, so this is no UTF-8 text; save the prompts as UTF-8")
        if data := data.strip():
            yield _parse_line(number, data)


def _parse_line(number: int, data: bytes) -> _Line:
    try:
        return _Line(number, data, json.loads(data.decode()))
    except UnicodeDecodeError as error:
        return _Line(number, data, mistake=f"not UTF-8 text, at byte {error.start + 1} of the line", is_utf8=False)
    except (ValueError, RecursionError) as error:
        reason, column = getattr(error, "msg", "too deep or too large"), getattr(error, "colno", "?")
        return _Line(number, data, mistake=f"not JSON: {reason}, column {column}; in a file of JSON every line is JSON")


def _plain_prompt(line: _Line, model: str | None, name: str) -> Prompt:
    """A line of plain text, or a JSON text. One undecodable line makes the whole file an error."""
    if not line.is_utf8:
        raise ConfigError(f"{name}:{line.number}: {line.mistake}; save the prompts as UTF-8")
    text = line.value if isinstance(line.value, str) else line.data.decode()
    return Prompt(line.number, line.number, Request(model or ANY_MODEL, text), _fingerprint(line.data, model or ANY_MODEL))


def _fingerprint(data: bytes, model: str | None) -> str:
    """The key of a line in a journal. A model that the line does not name is part of it."""
    return blake2b(
        data if model is None else b"%s\0%s" % (data, model.encode(errors="backslashreplace")), digest_size=16
    ).hexdigest()


def _json_prompt(line: _Line, model: str | None) -> PromptLine:
    number, value = line.number, line.value
    if line.mistake:
        return InvalidLine(number, number, line.mistake)
    if not isinstance(value, dict):
        text = f"a JSON {type(value).__name__} is not a prompt; give an object with model and messages"
        return InvalidLine(number, number, text)
    name: str | int = number
    try:
        name = _id_of(value, number)
        request, added = _request_of(value, model)
        return Prompt(number, name, request, _fingerprint(line.data, added))
    except DispatchError as error:
        return InvalidLine(number, name, _shorten(error.message))
    except (TypeError, ValueError, AttributeError, KeyError) as error:
        return InvalidLine(number, name, f"a field has the wrong shape ({type(error).__name__}); see the fields of Request")


def _shorten(text: str) -> str:
    return text if len(text) <= _LONGEST_TEXT else f"{text[: _LONGEST_TEXT - 100]} … {text[-100:]}"


def _id_of(value: dict[str, Any], number: int) -> str | int:
    field = "custom_id" if "custom_id" in value else "id"
    name = value.pop(field, None)
    if name is None:
        return number
    if isinstance(name, bool) or not isinstance(name, str | int):
        raise InvalidRequest(f"{field}: a {type(name).__name__} is not an id; give a text or a whole number")
    if isinstance(name, str) and len(name) > MAX_ID:
        raise InvalidRequest(f"{field}: {len(name):,} characters are too long for an id; give at most {MAX_ID}")
    return name


def _request_of(value: dict[str, Any], model: str | None) -> tuple[Request | EmbeddingRequest, str | None]:
    """What a line asks, and the model that was added to it."""
    if "body" in value or "url" in value:
        return _openai_line(value, model)
    added = None
    if "prompt" in value:
        added = _with_model(value, model or ANY_MODEL)
        value["messages"] = _messages_of(value)
    elif "messages" in value:
        added = _with_model(value, model)
    for field in value:
        if field not in _FIELDS:
            raise InvalidRequest(f"{field}: unknown field; {choices(field, ['id', *_FIELDS], 'a prompt has {}')}")
    for field in ("model", "messages"):
        if field not in value:
            hint = "; name it in the line, or for all lines with the option --model" if field == "model" else ""
            raise InvalidRequest(f"{field}: missing{hint}")
    return Request(**value), added


def _with_model(fields: dict[str, Any], model: str | None) -> str | None:
    """Add *model* if *fields* name none; returns the model if it was added."""
    if fields.get("model") is not None or model is None:
        return None
    fields["model"] = model
    return model


def _messages_of(value: dict[str, Any]) -> Any:
    prompt = value.pop("prompt")
    if "messages" in value:
        raise InvalidRequest("prompt: there are messages too; give one of the two")
    if not isinstance(prompt, str | list) or not prompt or (isinstance(prompt, str) and not prompt.strip()):
        raise InvalidRequest(f"prompt: {prompt!r} is not a prompt; give a text or a list of messages")
    return prompt


def _chat(body: bytes) -> Request:
    return CODECS["openai_chat"].read_request(body).request


def _responses(body: bytes) -> Request:
    return CODECS["openai_responses"].read_request(body).request


def _embeddings(body: bytes) -> EmbeddingRequest:
    request = EMBEDDING_CODECS["openai_chat"].read_request(body)
    if not request.texts:
        raise InvalidRequest("input: lists of tokens cannot be asked in a batch; give a text or a list of texts")
    return request


_OPENAI_FIELDS = ("method", "url", "body", "extra_params")
"""The last is ours: what one vendor alone knows, by any name."""
_OF_CHAT = """
audio frequency_penalty function_call functions logit_bias logprobs max_completion_tokens max_tokens messages metadata
modalities model moderation n parallel_tool_calls prediction presence_penalty prompt_cache_key prompt_cache_options
prompt_cache_retention reasoning_effort response_format safety_identifier seed service_tier stop store stream
stream_options temperature tool_choice tools top_logprobs top_p user verbosity web_search_options
"""
_OF_RESPONSES = """
background context_management conversation include input instructions max_output_tokens max_tool_calls metadata model
moderation parallel_tool_calls previous_response_id prompt prompt_cache_key prompt_cache_options prompt_cache_retention
reasoning safety_identifier service_tier store stream stream_options temperature text tool_choice tools top_logprobs
top_p truncation user
"""
_OF_EMBEDDINGS = """
dimensions encoding_format input model user
"""
"""What a body has, by its address. https://platform.openai.com/docs/api-reference, November 2026."""
_OF_SERVERS = """
add_generation_prompt add_special_tokens allowed_token_ids bad_words best_of cache_prompt cache_salt chat_template
chat_template_kwargs continue_final_message custom_logit_processor custom_params documents draft_model
dry_allowed_length dry_base dry_multiplier dry_penalty_last_n dry_sequence_breakers dynatemp_exponent dynatemp_range
ebnf echo extra_key format grammar guided_choice guided_decoding_backend guided_grammar guided_json guided_regex
guided_whitespace_pattern id_slot ignore_eos include_reasoning include_stop_str_in_output json_schema keep_alive
kv_transfer_params length_penalty logits_processors lora lora_path media_io_kwargs min_keep min_p min_tokens mirostat
mirostat_eta mirostat_tau mm_processor_kwargs n_keep n_predict n_probs no_stop_trim num_ctx num_predict options
parse_tool_calls post_sampling_probs priority prompt_logprobs reasoning_budget reasoning_format regex repeat_last_n
repeat_penalty repetition_detection repetition_penalty request_id response_fields return_hidden_states return_token_ids
return_tokens_as_token_ids rid samplers separate_reasoning skip_special_tokens spaces_between_special_tokens stop_regex
stop_token_ids stream_reasoning structured_outputs t_max_predict_ms think thinking_token_budget timings_per_token top_k
top_n_sigma truncate_prompt_tokens ttl typical_p use_beam_search vllm_xargs xtc_probability xtc_threshold
"""
"""What vLLM, SGLang, llama.cpp, LM Studio and Ollama take beside that.

https://docs.vllm.ai/en/latest/serving/openai_compatible_server.html, https://docs.sglang.io,
https://github.com/ggml-org/llama.cpp/tree/master/tools/server
"""
_OF_HOSTS = """
cache_control cached_content caching citation_options citations clear_thinking compliance compound_custom
context_length_exceeded_behavior data_sources debug deferred disable_reasoning disable_search disable_tool_validation
do_sample document_image_limit document_page_limit enable_code_interpreter enable_search enable_search_classifier
enable_thinking exclude_domains expire_at extra_body google guardrails image_config image_domain_filter
image_format_filter include_domains incremental_output language_preference last_updated_after_filter
last_updated_before_filter mask_sensitive_info max_thinking_tokens media_resolution media_response min_completion_tokens
min_thinking_tokens mirostat_lr mirostat_target models multi_agent nvext penalty_score perf_metrics_in_response plugins
preserve_thinking preset prompt_cache_isolation_key prompt_cache_max_len prompt_mode prompt_truncate_len provider
queue_threshold random_seed raw_output reasoning reasoning_history reasoning_split return_citations return_images
return_related_questions route safe_prompt safety_model safety_settings search_after_date_filter
search_before_date_filter search_context_size search_domain_filter search_mode search_options search_parameters
search_recency_filter search_settings session_id speculation stream_mode thinking thinking_budget thinking_config
tool_stream top_a trace transforms translation_options usage user_id user_security_context venice_parameters
vl_high_resolution_images web_search
"""
"""What Azure, OpenRouter, Groq, Cerebras, Mistral, DeepSeek, xAI, Perplexity, Fireworks, Together, NVIDIA, Baidu, MiniMax,
Volcengine, Alibaba, Z.ai, Google and Venice take, too."""
_OF_VECTORS = """
embedding_format embedding_type embedding_types input_type instruction late_chunking messages modality normalize
normalized output_dimension output_dtype prompt_name return_multivector service_tier task task_type title truncate
truncation
"""
"""What Mistral, Cohere, Voyage, Jina, NVIDIA and Google take for embeddings beside that."""
_OTHERS_FIELDS = frozenset((_OF_SERVERS + _OF_HOSTS + _OF_VECTORS).split())
_OF_MESSAGES = """
annotations audio cache_control content function_call id images name partial prefix reasoning reasoning_content
reasoning_details reasoning_text refusal role status thinking thinking_blocks tool_call_id tool_calls type
"""
_FUNCTION_FIELDS = frozenset({"name", "description", "parameters", "strict"})
_INNER_FIELDS: Mapping[str, frozenset[str]] = {
    "messages": frozenset(_OF_MESSAGES.split()),
    "messages.tool_calls": frozenset({"id", "type", "function", "custom", "index", "extra_content"}),
    "messages.tool_calls.function": frozenset({"name", "arguments"}),
    "functions": _FUNCTION_FIELDS,
    "tools": _FUNCTION_FIELDS | {"type", "function", "cache_control", "defer_loading", "eager_input_streaming"},
    "tools.function": _FUNCTION_FIELDS,
    "reasoning": frozenset({"context", "effort", "enabled", "exclude", "generate_summary", "max_tokens", "mode", "summary"}),
    "response_format": frozenset({"type", "json_schema", "schema", "grammar"}),
    "response_format.json_schema": frozenset({"name", "description", "schema", "strict"}),
    "stream_options": frozenset({"include_usage", "include_obfuscation", "continuous_usage_stats", "chunk_include_usage"}),
    "text": frozenset({"format", "verbosity"}),
}
"""The fields of objects within a body. Vendors have more of them, so only what is like one of these is taken for a mistake."""


_COUNTS = ("max_completion_tokens", "max_output_tokens", "max_tokens", "n")


def _check_body(body: Mapping[str, Any], fields: frozenset[str]) -> None:
    """Raise :class:`InvalidRequest` for a field that no vendor is known to have, or that is misspelt, and for a count below 1."""
    for field in body:
        if field not in fields and field not in _OTHERS_FIELDS:
            near = closest_name(field, sorted(fields)) or closest_name(field, sorted(_OTHERS_FIELDS))
            hint = f"did you mean {near!r}? " if near is not None else ""
            raise InvalidRequest(
                f"{field}: unknown field; {hint}what one vendor alone knows goes into extra_params beside the body"
            )
    for field in _COUNTS:
        value = body.get(field)
        if value is not None and (isinstance(value, bool) or not isinstance(value, int | float) or value < 1 or value % 1):
            raise InvalidRequest(f"{field}: {value!r} is not a whole number ≥ 1; omit it for the model's default")
    for path, known in _INNER_FIELDS.items():
        for place, found in _objects_at(body, path.split(".")):
            for field in found if path != "tools" or found.get("type") == "function" else ():
                near = None if field in known else closest_name(field, sorted(known))
                if near is not None and near not in found:
                    raise InvalidRequest(f"{place}.{field}: unknown field; did you mean {near!r}?")


def _objects_at(value: Any, path: list[str], place: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The objects at a path, each with its place; a list stands for all that is in it."""
    if isinstance(value, list):
        for number, inner in enumerate(value):
            yield from _objects_at(inner, path, f"{place}.{number}")
    elif isinstance(value, dict) and not path:
        yield place.removeprefix("."), value
    elif isinstance(value, dict) and path[0] in value:
        yield from _objects_at(value[path[0]], path[1:], f"{place}.{path[0]}")


_URLS: Mapping[str, tuple[Callable[[bytes], Request | EmbeddingRequest], frozenset[str]]] = {
    "/v1/chat/completions": (_chat, frozenset(_OF_CHAT.split())),
    "/v1/responses": (_responses, frozenset(_OF_RESPONSES.split())),
    "/v1/embeddings": (_embeddings, frozenset(_OF_EMBEDDINGS.split())),
}
"""The addresses of OpenAI's batch format, https://platform.openai.com/docs/guides/batch; Azure's have no ``/v1``."""


def _openai_line(value: dict[str, Any], model: str | None) -> tuple[Request | EmbeddingRequest, str | None]:
    for field in value:
        if field not in _OPENAI_FIELDS:
            hint = choices(field, ("custom_id", *_OPENAI_FIELDS), "a line of OpenAI's batch format has {}")
            raise InvalidRequest(f"{field}: unknown field; {hint}")
    method, url, body = value.get("method", "POST"), value.get("url"), value.get("body")
    if method != "POST":
        raise InvalidRequest(f"method: {method!r} cannot be asked; give POST")
    api = _URLS.get(url if url.startswith("/v1/") else f"/v1{url}") if isinstance(url, str) else None
    if api is None:
        raise InvalidRequest(f"url: {url!r} cannot be asked in a batch; give {', '.join(_URLS)}")
    if not isinstance(body, dict):
        raise InvalidRequest(f"body: a {type(body).__name__} is not a request; give an object with model and what {url} takes")
    added = _with_model(body, model)
    if body.get("model") is None:
        raise InvalidRequest("body.model: missing; name it in the line, or for all lines with the option --model")
    read, fields = api
    try:
        _check_body(body, fields)
        request = read(json.dumps(body).encode())
    except InvalidRequest as error:
        raise InvalidRequest(f"body.{error.message}") from None
    more = value.get("extra_params")
    return (_with_params(request, more) if more is not None else request), added


def _with_params(request: Request | EmbeddingRequest, more: Any) -> Request | EmbeddingRequest:
    """The request with what one vendor alone knows. Raises :class:`InvalidRequest` for what the request says itself."""
    if not isinstance(more, dict):
        raise InvalidRequest(f"extra_params: {type(more).__name__} is not a mapping; give an object")
    check_params(more)
    return attrs.evolve(request, extra_params={**request.extra_params, **more})


def _reject_repeated_ids(lines: Iterable[PromptLine]) -> Iterator[PromptLine]:
    """Yield the lines; one with the id of a line before it is invalid, since its answer could not be told from the other's."""
    seen: dict[str | int, int] = {}
    for line in lines:
        first = seen.setdefault(line.id, line.line) if isinstance(line, Prompt) else line.line
        if first == line.line:
            yield line
        else:
            text = _shorten(f"id: {line.id!r} is the id of line {first} too; give each line an id of its own")
            yield InvalidLine(line.line, line.id, text)
