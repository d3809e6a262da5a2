"""What an answer cost: the vendor's own word, or the catalog's price of what was used; and the wish to know it for certain."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import attrs

from . import catalog
from .clock import Clock
from .errors import CostUnknown
from .fast_init import evolved
from .policy.target import Target
from .response_values import Response, Usage
from .types import Request

if TYPE_CHECKING:
    from .attempt import Call
    from .chunks import OpenStream
    from .policy.route import Route


def priced(usage: Usage, target: Target, request: Request, clock: Clock, answer: Any = None) -> Usage:
    """The usage with its cost, or with the reason why there is none; a cost that the vendor reported stays.

    The tier is the one that ``answer`` names, else the one that was asked for. A target whose model the catalog does not know, such
    as a deployment, is priced as the model that the answer names.
    """
    if usage.cost is not None:
        return usage
    if not usage.input_tokens and not usage.output_tokens and not usage.tool_requests:
        return usage if usage.cost_status == "no_usage" else evolved(usage, cost_status="no_usage")
    price, version = target.price, target.price_version
    if price is None and version is None and target.kind is not None and answer is not None and answer.model:
        facts = catalog.model_facts(target.kind, answer.model)
        price, version = (facts.price, facts.price_version) if facts is not None else (None, None)
    if price is None:
        return evolved(usage, cost_status="unknown_model" if version is None else "no_price", price_version=version)
    tier = getattr(answer, "service_tier", None) or request.service_tier
    moment = clock.now() if price.later or price.off_peak is not None else None
    cost = catalog.cost(usage, price, tier=tier, at=moment)
    return evolved(usage, cost=cost, cost_status="priced", price_version=version)


def certain(usage: Usage, answer: Any) -> None:
    """Raise :class:`CostUnknown`, with the answer in it, where its cost is not known."""
    if usage.cost is None:
        text = (
            f"the cost of an answer of {answer.vendor}:{answer.model} is not known ({usage.cost_status}); error.response holds it"
        )
        raise CostUnknown(text, response=answer, cost_status=usage.cost_status, vendor=answer.vendor, model=answer.model)


class Answers(Protocol):
    """Who answers calls: a conductor, or the memory before it."""

    def send(self, call: Call, route: Route) -> Response:
        """The whole answer."""

    def stream(self, call: Call, route: Route) -> OpenStream:
        """An answer that has begun."""


@attrs.frozen
class Certain:
    """Answers whose cost is known; of others the caller gets a :class:`CostUnknown` that holds them, after they are settled."""

    answers: Answers

    def send(self, call: Call, route: Route) -> Response:
        """The whole answer."""
        response = self.answers.send(call, route)
        certain(response.usage, response)
        return response

    def stream(self, call: Call, route: Route) -> OpenStream:
        """An answer that has begun; how it ends shows what it cost."""
        return _CertainStream(self.answers.stream(call, route))


class _CertainStream:
    """A stream that is asked at its end what it cost; in all else it is the other."""

    def __init__(self, opened: OpenStream) -> None:
        self._opened = opened

    def __getattr__(self, name: str) -> Any:
        return getattr(self._opened, name)

    def finish(self, response: Response) -> Response:
        """Settle as a success, then look at the cost."""
        response = self._opened.finish(response)
        certain(response.usage, response)
        return response
