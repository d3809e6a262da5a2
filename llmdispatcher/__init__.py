"""The dispatcher for large language models that synchronous Python deserves: one blocking call, any vendor.

Names are loaded at their first use, so that importing the package costs little and importing one name no more than it needs.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ._version import __version__

if TYPE_CHECKING:
    from .caching import CacheStats, ResponseCache
    from .cancellation import Cancellation
    from .catalog import ModelFacts, Price, get_model, list_models
    from .channel import Channel, ChannelClosed
    from .chunks import StreamChunk, ToolCallDelta
    from .clock import Deadline
    from .config import Config
    from .content import analyze_file, analyze_image, audio, document, image, video
    from .dispatcher import Dispatcher
    from .embeddings import EmbeddingRequest, Embeddings
    from .errors import (
        AllTargetsFailed,
        AuthenticationError,
        BudgetExceeded,
        Cancelled,
        CircuitOpen,
        ConfigError,
        ContentFiltered,
        ContextWindowExceeded,
        CostUnknown,
        DeadlineExceeded,
        DispatchError,
        FailureClass,
        InvalidRequest,
        LedgerError,
        LockfileInvalid,
        LockfileNotFound,
        MalformedReply,
        ModelNotFound,
        Overloaded,
        QuotaExceeded,
        RateLimitError,
        RegistryStale,
        StreamInterrupted,
        ToolRoundsExceeded,
        VendorUnavailable,
    )
    from .functions import FunctionTool, tool
    from .health import VendorHealth
    from .http_vendor import HttpVendor
    from .journal import CallLog
    from .ledger import Ledger, LedgerStats, open_ledger
    from .ledger.figures import UsageStats
    from .ledger.records import LedgerCall
    from .lockfile import Lockfile
    from .messages import Message, Tool, VendorTool
    from .outcome import AttemptRecord, Observer, Outcome
    from .parts import AudioPart, FilePart, ImagePart, OtherPart, ReasoningPart, TextPart, ToolCall, VideoPart
    from .policy.admission import Admission
    from .policy.balance import Balance, BalanceContext
    from .policy.breaker import CircuitBreaker
    from .policy.budget import RetryBudget
    from .policy.concurrency import AdaptiveConcurrency
    from .policy.continuation import Continuation
    from .policy.guards import MaxLengthGuard, PatternGuard, PersonalDataGuard, SchemaGuard
    from .policy.hedge import Hedge
    from .policy.optimize import CostOptimization, LatencyOptimization
    from .policy.rate_limit import RateLimit, RateLimitStatus
    from .policy.retry import BackoffStrategy, RetryPolicy
    from .policy.route import Route
    from .policy.rules import RoutingCondition, RoutingRule
    from .policy.standing import HedgePlan, TargetStatus
    from .receipts.book import Receipts
    from .receipts.findings import ReceiptVerification
    from .receipts.keys import PublicKey, PublicKeys, SigningKey
    from .receipts.receipt import Receipt, ReceiptAnchor
    from .receipts.verifying import verify_receipts
    from .registry import Registry, RegistryStatus
    from .remote import RemoteFetch
    from .response_values import Capabilities, Choice, Citation, RateLimitRemaining, Response, Usage
    from .spending.budget import Budget
    from .spending.status import BudgetForecast, BudgetStatus
    from .stats import Stats, VendorStats
    from .streaming import StreamingResponse
    from .tokens import TokenCount
    from .tool_loop import ToolResult, ToolRun, run_tools
    from .trace import Plan, SkippedTarget, Trace
    from .types import Request
    from .vendor_config import VendorConfig
    from .vendors import (
        AnthropicVendor,
        AzureOpenAIVendor,
        GoogleVendor,
        HuggingFaceVendor,
        OllamaVendor,
        OpenAICompatibleVendor,
        OpenAIVendor,
        Vendor,
        vendor,
    )

_ROOMS = {
    "caching": ("CacheStats", "ResponseCache"),
    "cancellation": ("Cancellation",),
    "catalog": ("ModelFacts", "Price", "get_model", "list_models"),
    "channel": ("Channel", "ChannelClosed"),
    "chunks": ("StreamChunk", "ToolCallDelta"),
    "clock": ("Deadline",),
    "config": ("Config",),
    "content": ("analyze_file", "analyze_image", "audio", "document", "image", "video"),
    "dispatcher": ("Dispatcher",),
    "embeddings": ("EmbeddingRequest", "Embeddings"),
    "errors": (
        "AllTargetsFailed",
        "AuthenticationError",
        "BudgetExceeded",
        "Cancelled",
        "CircuitOpen",
        "ConfigError",
        "ContentFiltered",
        "ContextWindowExceeded",
        "CostUnknown",
        "DeadlineExceeded",
        "DispatchError",
        "FailureClass",
        "InvalidRequest",
        "LockfileInvalid",
        "LockfileNotFound",
        "LedgerError",
        "MalformedReply",
        "ModelNotFound",
        "Overloaded",
        "QuotaExceeded",
        "RateLimitError",
        "RegistryStale",
        "StreamInterrupted",
        "ToolRoundsExceeded",
        "VendorUnavailable",
    ),
    "health": ("VendorHealth",),
    "http_vendor": ("HttpVendor",),
    "journal": ("CallLog",),
    "functions": ("FunctionTool", "tool"),
    "ledger": ("Ledger", "LedgerStats", "open_ledger"),
    "ledger.figures": ("UsageStats",),
    "ledger.records": ("LedgerCall",),
    "lockfile": ("Lockfile",),
    "messages": ("Message", "Tool", "VendorTool"),
    "outcome": ("AttemptRecord", "Observer", "Outcome"),
    "parts": ("AudioPart", "FilePart", "ImagePart", "OtherPart", "ReasoningPart", "TextPart", "ToolCall", "VideoPart"),
    "policy.admission": ("Admission",),
    "policy.balance": ("Balance", "BalanceContext"),
    "policy.breaker": ("CircuitBreaker",),
    "policy.budget": ("RetryBudget",),
    "policy.concurrency": ("AdaptiveConcurrency",),
    "policy.continuation": ("Continuation",),
    "policy.guards": ("SchemaGuard", "MaxLengthGuard", "PatternGuard", "PersonalDataGuard"),
    "policy.hedge": ("Hedge",),
    "policy.rate_limit": ("RateLimit", "RateLimitStatus"),
    "policy.optimize": ("CostOptimization", "LatencyOptimization"),
    "policy.retry": ("BackoffStrategy", "RetryPolicy"),
    "policy.route": ("Route",),
    "policy.rules": ("RoutingCondition", "RoutingRule"),
    "policy.standing": ("HedgePlan", "TargetStatus"),
    "registry": ("Registry", "RegistryStatus"),
    "receipts.book": ("Receipts",),
    "receipts.findings": ("ReceiptVerification",),
    "receipts.keys": ("PublicKey", "PublicKeys", "SigningKey"),
    "receipts.receipt": ("Receipt", "ReceiptAnchor"),
    "receipts.verifying": ("verify_receipts",),
    "remote": ("RemoteFetch",),
    "spending.budget": ("Budget",),
    "spending.status": ("BudgetStatus", "BudgetForecast"),
    "stats": ("Stats", "VendorStats"),
    "streaming": ("StreamingResponse",),
    "tool_loop": ("ToolResult", "ToolRun", "run_tools"),
    "tokens": ("TokenCount",),
    "trace": ("SkippedTarget", "Plan", "Trace"),
    "response_values": ("Capabilities", "Choice", "Citation", "RateLimitRemaining", "Response", "Usage"),
    "types": ("Request",),
    "vendor_config": ("VendorConfig",),
    "vendors": (
        "AnthropicVendor",
        "AzureOpenAIVendor",
        "GoogleVendor",
        "HuggingFaceVendor",
        "OllamaVendor",
        "OpenAICompatibleVendor",
        "OpenAIVendor",
        "Vendor",
        "vendor",
    ),
}
_ROOM_OF = {name: room for room, names in _ROOMS.items() for name in names}

__all__ = [
    "AdaptiveConcurrency",
    "Admission",
    "AllTargetsFailed",
    "AnthropicVendor",
    "AttemptRecord",
    "AudioPart",
    "AuthenticationError",
    "AzureOpenAIVendor",
    "BackoffStrategy",
    "Balance",
    "BalanceContext",
    "Budget",
    "BudgetExceeded",
    "BudgetForecast",
    "BudgetStatus",
    "CacheStats",
    "CallLog",
    "Cancellation",
    "Cancelled",
    "Capabilities",
    "Channel",
    "ChannelClosed",
    "Choice",
    "CircuitBreaker",
    "CircuitOpen",
    "Citation",
    "Config",
    "ConfigError",
    "ContentFiltered",
    "ContextWindowExceeded",
    "Continuation",
    "CostOptimization",
    "CostUnknown",
    "Deadline",
    "DeadlineExceeded",
    "DispatchError",
    "Dispatcher",
    "EmbeddingRequest",
    "Embeddings",
    "FailureClass",
    "FilePart",
    "FunctionTool",
    "GoogleVendor",
    "Hedge",
    "HedgePlan",
    "HttpVendor",
    "HuggingFaceVendor",
    "ImagePart",
    "InvalidRequest",
    "LatencyOptimization",
    "Ledger",
    "LedgerCall",
    "LedgerError",
    "LedgerStats",
    "Lockfile",
    "LockfileInvalid",
    "LockfileNotFound",
    "MalformedReply",
    "MaxLengthGuard",
    "Message",
    "ModelFacts",
    "ModelNotFound",
    "Observer",
    "OllamaVendor",
    "OpenAICompatibleVendor",
    "OpenAIVendor",
    "OtherPart",
    "Outcome",
    "Overloaded",
    "PatternGuard",
    "PersonalDataGuard",
    "Plan",
    "Price",
    "PublicKey",
    "PublicKeys",
    "QuotaExceeded",
    "RateLimit",
    "RateLimitError",
    "RateLimitRemaining",
    "RateLimitStatus",
    "ReasoningPart",
    "Receipt",
    "ReceiptAnchor",
    "ReceiptVerification",
    "Receipts",
    "Registry",
    "RegistryStale",
    "RegistryStatus",
    "RemoteFetch",
    "Request",
    "Response",
    "ResponseCache",
    "RetryBudget",
    "RetryPolicy",
    "Route",
    "RoutingCondition",
    "RoutingRule",
    "SchemaGuard",
    "SigningKey",
    "SkippedTarget",
    "Stats",
    "StreamChunk",
    "StreamInterrupted",
    "StreamingResponse",
    "TargetStatus",
    "TextPart",
    "TokenCount",
    "Tool",
    "ToolCall",
    "ToolCallDelta",
    "ToolResult",
    "ToolRoundsExceeded",
    "ToolRun",
    "Trace",
    "Usage",
    "UsageStats",
    "Vendor",
    "VendorConfig",
    "VendorHealth",
    "VendorStats",
    "VendorTool",
    "VendorUnavailable",
    "VideoPart",
    "__version__",
    "analyze_file",
    "analyze_image",
    "audio",
    "document",
    "get_model",
    "image",
    "list_models",
    "open_ledger",
    "run_tools",
    "tool",
    "vendor",
    "verify_receipts",
    "video",
]


def __getattr__(name: str) -> Any:
    room = _ROOM_OF.get(name)
    if room is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f".{room}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_ROOM_OF})
