"""The ``Vendor`` protocol, which any object may implement, and what a registered vendor can do beyond it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from fnmatch import fnmatchcase
from typing import Any, Protocol, runtime_checkable

import attrs

from ..catalog import NameClaim, VendorRow, claim_on, vendor_row
from ..resilience import RateLimit
from ..runtime import Deadline
from ..types import Capabilities, EmbeddingRequest, Embeddings, Request, Response, StreamChunk
from .http import HttpVendor


@runtime_checkable
class Vendor(Protocol):
    """Who can be asked; any object with these five members, no base class.

    Optional members that the dispatcher uses where they exist: ``kind`` (a catalog vendor, for prices), ``is_free`` (whether its
    answers cost nothing, of a kind that stands for servers of one's own), ``model_for(model)`` (the vendor's own name for a model,
    or ``None`` where it does not have it), ``claim_on(model)`` (a ``catalog.NameClaim``: what is known about a model's name here,
    by which the dispatcher decides who may be asked), ``list_models(deadline)`` (the names of its models, asked of the vendor),
    ``missing()`` (what it was not told, for the error) and ``close()``. One without ``model_for`` has the models that its
    capabilities list; where they list none it may have any, and is asked only where it is named or the only vendor.
    """

    @property
    def name(self) -> str:
        """What rules and ``send_to_vendor`` call it; unique in a dispatcher."""

    @property
    def capabilities(self) -> Capabilities:
        """What it can do."""

    def send(self, request: Request, deadline: Deadline) -> Response:
        """Answer, within ``deadline.remaining()`` seconds; raises a :class:`DispatchError`."""

    def stream(self, request: Request, deadline: Deadline) -> Iterable[StreamChunk]:
        """Answer in pieces; a normal end of the iteration means a complete answer."""

    def is_available(self) -> bool:
        """Whether it makes sense to ask it now; cheap, never spends money."""


@attrs.frozen(kw_only=True, eq=False)
class VendorInfo:
    """A registered vendor and its optional members, looked for once, when it is registered.

    The fields have the names of the members. Most that a vendor lacks have a function as default; ``embed`` and ``list_models`` are
    ``None`` then.
    """

    vendor: Vendor
    name: str
    kind: str
    """Its name in the catalog; empty for a vendor of the user's own."""
    row: VendorRow | None
    is_http: bool
    """Whether it is an :class:`HttpVendor`, which raises nothing but our errors."""
    rate_limit: RateLimit | None
    default_model: str | None
    drops_params: bool
    embed: Callable[[EmbeddingRequest, Deadline], Embeddings] | None
    list_models: Callable[[Deadline], Collection[str]] | None
    model_for: Callable[[str], str | None]
    claim_on: Callable[[str], NameClaim]
    count_tokens: Callable[[Request, Deadline], int | None]
    takes_prefill: Callable[[Request], bool]
    objection: Callable[[Request], str]
    embedding_batches: Callable[[EmbeddingRequest], int]
    awake_keys: Callable[[], Sequence[int]]
    missing: Callable[[], str | None]
    mask: Callable[[str], str]
    close: Callable[[], object]

    @classmethod
    def of(cls, vendor: Vendor) -> VendorInfo:
        """Look for the optional members of a vendor."""

        def member(name: str, default: Any = None) -> Any:
            return getattr(vendor, name, default)

        def model_for(model: str) -> str | None:
            listed = vendor.capabilities.models
            return model if not listed or any(fnmatchcase(model, pattern) for pattern in listed) else None

        kind, own_name = member("kind") or "", member("model_for")
        http = vendor if isinstance(vendor, HttpVendor) else None
        model_for = own_name or model_for

        def claim(model: str) -> NameClaim:
            if model_for(model) is None:
                return NameClaim.CLOSED
            if vendor.capabilities.models or own_name is not None:
                return NameClaim.LISTED
            known = claim_on(kind, model, vendor.name)
            return known if known.has_it else NameClaim.ANY

        limit = member("rate_limit")
        return cls(
            vendor=vendor,
            name=vendor.name,
            kind=kind,
            row=vendor_row(kind),
            is_http=http is not None,
            rate_limit=limit if isinstance(limit, RateLimit) else None,
            default_model=member("default_model"),
            drops_params=bool(member("drops_params")),
            embed=member("embed") if member("can_embed", True) else None,
            list_models=member("list_models"),
            model_for=model_for,
            claim_on=member("claim_on", claim),
            count_tokens=member("count_tokens", lambda _request, _deadline: None),
            takes_prefill=member("takes_prefill", lambda _request: False),
            objection=http.objection if http is not None else lambda _request: "",
            embedding_batches=http.embedding_batches if http is not None else lambda _request: 1,
            awake_keys=member("awake_keys", tuple),
            missing=member("missing", lambda: None),
            mask=http.mask if http is not None else lambda text: text,
            close=member("close", lambda: None),
        )

    @property
    def is_local(self) -> bool:
        """Whether it is a server of one's own, which serves what was loaded into it."""
        return self.row is not None and self.row.keyless

    def is_free(self, *, otherwise: bool) -> bool:
        """Whether its answers cost nothing; ``otherwise`` counts where it does not say. The environment can change it."""
        return bool(getattr(self.vendor, "is_free", otherwise))
