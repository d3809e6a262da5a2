"""OpenAI's responses, from the vendor's side (WIRE.md §2)."""

from __future__ import annotations

from collections.abc import Mapping

from ...wire.openai_responses import OPENAI_RESPONSES
from .answering import Names
from .base import ApiError, Format, SimulatedRequest, bearer, out_of_range
from .openai_words import words

_RANGES = {"temperature": (0, 2), "top_p": (0, 1), "max_output_tokens": (1, 1 << 20)}


class ResponsesFormat(Format):
    """``/v1/responses``, and any prefix before ``/responses``."""

    name = "openai_responses"
    codec = OPENAI_RESPONSES
    names = Names(answer="resp_", call="call_", tier="default")

    def key(self, headers: Mapping[str, str]) -> str | None:
        """The bearer token, or Azure's ``api-key``."""
        return headers.get("api-key") or bearer(headers)

    def check(self, request: SimulatedRequest) -> ApiError | None:
        """JSON, model, input, ranges, in this order."""
        asked = request.json
        if not isinstance(asked, dict):
            return ApiError(400, message="We could not parse the JSON body of your request.")
        if not request.model:
            return ApiError(400, message="Missing required parameter: 'model'.", param="model", code="missing_required_parameter")
        if not asked.get("input") and not asked.get("prompt"):
            return ApiError(400, message="Missing required parameter: 'input'.", param="input", code="missing_required_parameter")
        for name, (low, high) in _RANGES.items():
            if out_of_range(asked, name, low, high):
                text = f"Invalid '{name}': expected a value from {low} to {high}."
                return ApiError(400, message=text, param=name, code="decimal_out_of_range")
        return None

    def words(self, api_error: ApiError) -> tuple[str, str | None]:
        """Those of chat completions."""
        return words(api_error)

    def ping(self) -> bytes:
        """A comment."""
        return b": keep-alive\n\n"
