"""What OpenAI says of each trouble, in all of its formats: message and code."""

from __future__ import annotations

from .base import ApiError

_USUAL = {
    400: ("The request is not valid.", None),
    401: ("Incorrect API key provided.", "invalid_api_key"),
    402: ("The account is not active; check its billing details.", "billing_not_active"),
    403: ("You are not allowed to sample from this model.", None),
    404: ("There is nothing at this address.", None),
    408: ("The request timed out.", None),
    409: ("The resource is locked by another request.", None),
    413: ("The request is larger than the limit.", None),
    422: ("The request could not be processed.", None),
    429: ("Rate limit reached for requests per min. Please try again later.", "rate_limit_exceeded"),
    451: ("This country or region is not supported.", "unsupported_country_region_territory"),
    503: ("The engine is currently overloaded, please try again later.", None),
}
_SPECIAL = {
    "model": ("The model does not exist or you do not have access to it.", "model_not_found"),
    "quota": ("You exceeded your current quota; check your plan and billing details.", "insufficient_quota"),
    "context": (
        "This model's maximum context length is 128000 tokens. However, your messages resulted in 131072 tokens.",
        "context_length_exceeded",
    ),
    "filter": ("The prompt was rejected by the safety system.", "content_policy_violation"),
}
_SERVER_ERROR = ("The server had an error while processing your request.", None)


def words(api_error: ApiError) -> tuple[str, str | None]:
    """The usual message for a trouble, and its code."""
    return _SPECIAL.get(api_error.kind) or _USUAL.get(api_error.status, _SERVER_ERROR)
