"""What an attempt can cost at most, and the reservation of that amount in the budgets before the attempt is sent.

The upper bound comes first (:func:`bound`), then what a call and an attempt hold of their budgets (:class:`CallBudget`,
:class:`Reservation`), then :class:`Spending`, which reserves before an attempt is sent and settles when it has ended.

Text is counted by its bytes in UTF-8: the tokenizers in use (byte-pair encodings of bytes, sentencepieces that fall back to bytes)
make no token of less than a byte. A tokenizer that normalizes first (NFKC) can lengthen a text, so the longer form counts. Fixed
allowances cover what a vendor adds (roles, its own instructions for tools); images have a ceiling for each vendor. What cannot be
bounded (audio, video, documents, results of a vendor's own tools, a conversation that the vendor stores) counts as the model's
whole context window. Output is ``max_tokens`` or the model's limit, for each of ``n`` choices. All of it is priced at the highest
rate that such tokens can have: cache writes, audio, and every band and tier that the request can reach.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from typing import Any

import attrs

from ..._text import room_logger
from ...catalog import Target, room_for_thoughts
from ...errors import BudgetExceeded, ConfigError, DispatchError, LedgerError
from ...routing import ANY_WINDOW, shown
from ...runtime import Clock, Deadline, KeyAssignment, unique_hex
from ...types import (
    EXACT,
    AudioPart,
    FilePart,
    ImagePart,
    LimitWarning,
    Message,
    OtherPart,
    Price,
    ReasoningPart,
    Request,
    TextPart,
    TokenLimits,
    ToolCall,
    VendorTool,
    VideoPart,
    choices,
    predictions_in,
    stored_param,
    unseen_model,
)
from ..units import account_name, micros, moment
from .budget import WEEKDAYS, Budget, BudgetForecast, BudgetStatus, period_at, picodollars_up, plain_dollars
from .store import Account, AccountBalance, Booking, BudgetStore, BudgetStoreUnavailable, Claim, MemoryBudgetStore

PER_REQUEST = 768
"""Tokens that a vendor writes around a conversation; the most that was seen are 612, of Llama's template."""
WITH_SETTINGS = 2_048
"""Tokens that a vendor writes around a conversation with settings of its own: a character, or a mode (1,690 seen)."""
PER_MESSAGE = 16
"""Tokens that mark a turn: its role, its beginning and end."""
WITH_TOOLS = 1_024
"""Tokens of a vendor's own instructions for tools."""
PER_TOOL = 64
PER_IMAGE: Mapping[str, int] = {"anthropic": 5_000, "google": 5_000, "vertex": 5_000, "bedrock": 5_000}
"""The most tokens of an image that a vendor scales down itself."""
ANY_IMAGE = 50_000
"""The most tokens of an image at any other vendor: what the dearest model of all, gpt-4o-mini, bills for one."""
ANY_OUTPUT = 131_072
THOUGHTS = 65_536
"""Tokens that some formats need for thoughts above ``max_tokens``, at the highest effort."""
LEAST_OUTPUT = 16
"""Some APIs raise a smaller ``max_tokens`` to this; others exceed it by one."""
OVER_OUTPUT: Mapping[str, int] = {"google": 2, "vertex": 2}
"""How many times ``max_tokens`` a vendor may bill: its thoughts are counted, and not always stopped in time (by 30 % was seen)."""
FEES: Mapping[str, Decimal] = {"perplexity": Decimal("0.022")}
"""US dollars that a vendor charges at most for a request itself."""
ROUTERS = frozenset({"openrouter/auto", "openrouter/bodybuilder", "typesafe/jev-router"})
"""Names for whichever model a vendor chooses; the 0 that a price list has for them is no price."""
SEARCHES = 10
"""How often a vendor's own tool is used where it sets no ``max_uses``."""

_NOTHING = Decimal(0)
_DAY = timedelta(days=1)
_REMEMBERED = 1024
_SEARCHING = frozenset({"web_search_options", "plugins", "tools", "mcp_servers", "search_parameters", "googleSearch"})


@attrs.frozen(kw_only=True)
class Measure:
    """The size of a request at any vendor: ``text`` in tokens at most, ``images``, whether a part of it is ``unbounded``.

    ``searches`` is how often vendors' own tools may be used, ``output`` the tokens of one answer at most (``None``: no limit).
    """

    text: int
    images: int = 0
    unbounded: bool = False
    searches: int = 0
    answers: int = 1
    output: int | None = None


def measure(request: Request) -> Measure:
    """Measure a request, in one pass over its text."""
    extra, format, tools = request.extra_params, request.response_format, request.tools
    vendor_tools = [tool for tool in tools if isinstance(tool, VendorTool)]
    searching = bool(vendor_tools) or not _SEARCHING.isdisjoint(extra)
    text, images, unbounded = PER_REQUEST, 0, searching
    if extra:
        text += WITH_SETTINGS + _json_tokens(extra)
    if format:
        text += _json_tokens(format)
    if tools:
        text += WITH_TOOLS + sum([PER_TOOL + _json_tokens(attrs.asdict(tool, recurse=False)) for tool in tools])
    for message in request.messages:
        text += _message_tokens(message)
        for part in () if isinstance(message.content, str) else message.content:
            text += _part_tokens(part)
            images += isinstance(part, ImagePart)
            unbounded = unbounded or _unbounded(part)
    said = TokenLimits.of(extra)
    return Measure(
        text=text,
        images=images,
        unbounded=unbounded or stored_param(extra) is not None,
        searches=sum([_max_uses(tool) for tool in vendor_tools]) or (SEARCHES if searching else 0),
        answers=max(request.n or 1, said.answers),
        output=_most_output(request, said),
    )


def bound(measure: Measure, request: Request, target: Target, now: datetime) -> Decimal:
    """The most US dollars that a request can cost at a target with a known price."""
    per_image = PER_IMAGE.get(target.kind or "", ANY_IMAGE)
    into = measure.text + measure.images * per_image + ((target.context_window or ANY_WINDOW) if measure.unbounded else 0)
    output = measure.output
    if output is None:
        output = target.max_output or target.context_window or ANY_OUTPUT
    else:
        output *= OVER_OUTPUT.get(target.kind or "", 1)
        if request.reasoning_effort is None and not request.reasoning_tokens:  # of those the measure has more already
            output += room_for_thoughts(request, target.kind or "", target.model)
    tier = None if "service_tier" in request.extra_params else request.service_tier
    ladder, search = _rates(target, tier, measure.unbounded, (now + _DAY).date())
    steps = [step for step in ladder if into > step[0]]
    dearest_in, dearest_out = max([step[1] for step in steps]), max([step[2] for step in steps])
    tokens = EXACT.scaleb(EXACT.fma(into, dearest_in, EXACT.multiply(measure.answers * output, dearest_out)), -6)
    fees = FEES.get(target.kind or "")
    if fees is not None:
        tokens = EXACT.add(tokens, fees)
    return EXACT.fma(measure.searches, search, tokens) if measure.searches else tokens


@lru_cache(maxsize=_REMEMBERED)
def _rates(target: Target, tier: str | None, audible: bool, soon: date) -> tuple[tuple[tuple[int, Decimal, Decimal], ...], Decimal]:
    """What tokens may cost at a target: (above so many, in at most, out at most); and the dearest call of a tool.

    Of this day's prices and the next one's, of the tiers that a vendor may choose.
    """
    price = target.price
    assert price is not None  # the caller has checked it
    ladder: list[tuple[int, Decimal, Decimal]] = []
    for one in (price, *[later for later in price.later if later.valid_from is not None and later.valid_from <= soon]):
        tiers = one.tiers.values() if tier in (None, "auto") else [one.of(0, tier)]
        for way in (one, *tiers):
            for above, rung in ((-1, way), *way.bands):
                ladder.append((above, max(_input_rates(rung, audible=audible)), _output_rate(rung)))
    return tuple(ladder), max(price.calls.values(), default=_NOTHING)


def has_price(target: Target) -> bool:
    """Whether it is known what a target costs."""
    return target.price is not None and target.model not in ROUTERS


@lru_cache(maxsize=_REMEMBERED)
def costs_nothing(target: Target) -> bool:
    """Whether a target is known to be free."""
    return target.price is not None and has_price(target) and is_free(target.price)


def is_free(price: Price) -> bool:
    """Whether nothing costs anything, in any class, band or tier, now or later."""
    others = (*[dearer for _, dearer in price.bands], *price.tiers.values(), *price.later)
    return not (any(_input_rates(price, audible=True)) or _output_rate(price) or any(price.calls.values())) and all(
        map(is_free, others)
    )


def text_tokens(text: str) -> int:
    """The most tokens that a text can have."""
    if text.isascii():
        return len(text)
    plain = len(text.encode("utf-8", "surrogatepass"))
    if unicodedata.is_normalized("NFKC", text):
        return plain
    return max(plain, len(unicodedata.normalize("NFKC", text).encode("utf-8", "surrogatepass")))


def _most_output(request: Request, said: TokenLimits) -> int | None:
    """Output tokens of one answer at most, thoughts included; ``None`` where only the model sets an end."""
    most = said.most(request.max_tokens)
    if most is None:
        return None
    if request.max_tokens == 0 and not said.limits:
        return 0  # vectors are asked for
    most = max(most, *said.others, LEAST_OUTPUT) + 1 + sum(map(_json_tokens, predictions_in(request.extra_params)))
    if request.reasoning_tokens:
        return most + request.reasoning_tokens
    return most + THOUGHTS if request.reasoning_effort not in (None, "none") else most


def _input_rates(price: Price, *, audible: bool) -> Iterable[Decimal]:
    yield from (price.input, price.cache_read, price.cache_write, price.cache_write_long, price.image_input)
    if audible:
        yield from (price.audio_input, price.audio_cache_read)


def _output_rate(price: Price) -> Decimal:
    return max(price.output, price.reasoning, price.audio_output, price.image_output)


def _message_tokens(message: Message) -> int:
    """Tokens of a message without the parts of its content."""
    count = PER_MESSAGE + len(message.tool_call_id or "")
    if isinstance(message.content, str):
        count += text_tokens(message.content)
    if message.tool_calls:
        count += sum([_part_tokens(call) for call in message.tool_calls])
    if message.name:
        count += text_tokens(message.name)
    return count + _json_tokens(message.extra) if message.extra else count


def _part_tokens(part: Any) -> int:
    """Tokens of the text that a part holds."""
    if isinstance(part, TextPart):
        return text_tokens(part.text) + _json_tokens(part.extra)
    if isinstance(part, ToolCall):
        return PER_TOOL + text_tokens(part.name) + text_tokens(part.arguments) + len(part.id or "") + len(part.signature or "")
    if isinstance(part, ReasoningPart):
        return text_tokens(part.text) + len(part.signature or "") + len(part.encrypted or "") + _json_tokens(part.extra)
    if isinstance(part, OtherPart):
        return _json_tokens(part.data)
    if isinstance(part, FilePart):
        return len(part.data or b"") + text_tokens(part.name or "") if _is_text(part) else text_tokens(part.name or "")
    return 0


def _json_tokens(value: Any) -> int:
    """Tokens of a value written as JSON; of one that JSON cannot hold, of its ``repr``."""
    return text_tokens(json.dumps(value, ensure_ascii=False, default=repr)) if value else 0


def _is_text(part: FilePart) -> bool:
    return part.data is not None and (part.media_type or "").startswith("text/")


def _unbounded(part: Any) -> bool:
    """Whether its bytes do not limit its tokens; a vendor's own block may be encrypted, or refer to something stored elsewhere."""
    return isinstance(part, AudioPart | VideoPart | OtherPart) or (isinstance(part, FilePart) and not _is_text(part))


def _max_uses(tool: VendorTool) -> int:
    most = tool.data.get("max_uses")
    return most if isinstance(most, int) and most > 0 else SEARCHES


class CallBudget:
    """What the attempts of one call share: its facts, the measure of its request, and the store of budgets that count by call."""

    __slots__ = ("_measure", "_more", "facts", "request", "store")

    def __init__(self, request: Request, origin: str | None = None, store: MemoryBudgetStore | None = None) -> None:
        self.request = request
        self.store = store
        self.facts = {
            "origin": request.origin or origin or "",
            "user": request.user or "",
            "id_at_origin": request.id_at_origin or "",
        }
        self._measure: Measure | None = None
        self._more = 0

    @property
    def measure(self) -> Measure:
        """The measure of the request, with the text that :meth:`continue_with` added."""
        if self._measure is None:
            self._measure = measure(self.request)
        return attrs.evolve(self._measure, text=self._measure.text + self._more) if self._more else self._measure

    def continue_with(self, text: str, around: str) -> None:
        """Count the beginning of an answer, and the words around it, as part of the request from now on."""
        self._more = text_tokens(text) + text_tokens(around)


class Reservation:
    """What one attempt has reserved. It is settled once; later settlements change nothing.

    How an attempt ends decides what counts as spent. A response: its cost, reported by the vendor or worked out from usage and
    price; the whole bound if neither is known. A request that certainly never reached the vendor, or that the vendor refused: a
    cost that is known, otherwise nothing. Anything else (broken off, cancelled, timed out, overtaken) may be billed for an unknown
    sum: the whole bound.

    If a budget counts by key, it is also the attempt's :class:`~llmdispatcher.runtime.KeyAssignment`: ``key`` is the number of the
    key with the reserved money, and after a refusal the reservation moves to another key.
    """

    __slots__ = ("_limits", "_spending", "asked", "booked", "call", "key", "of_call", "shared")

    def __init__(self, call: CallBudget, spending: Spending) -> None:
        self.call = call
        self.of_call: Booking | None = None
        self.shared: Booking | None = None
        self.booked = True
        self.key: int | None = None
        self.asked: tuple[Target, Deadline] | None = None
        self._spending = spending
        self._limits: KeyAssignment | None = None

    def lease(self, limits: KeyAssignment | None) -> KeyAssignment | None:
        """Return what chooses the key to show; ``limits`` is the lease of the rate limits, which comes first."""
        if self.key is None:
            return limits
        self._limits = limits
        return self

    def move(self, awake: Sequence[int], error: DispatchError) -> int | None:
        """Reserve for another of these keys, after a refusal, which costs nothing; ``None`` if none has both a place and money."""
        if self._limits is not None:
            number = self._limits.move(awake, error)
            if number is None:
                return None
            awake = [number]
        self.give_back()
        self.key = None
        if self.asked is not None:
            self._spending.reserve(self, self.asked[0], awake, self.asked[1])
        return self.key

    @property
    def amount(self) -> Decimal | None:
        """Reserved US dollars; ``None`` if nothing is reserved."""
        held = self.shared or self.of_call
        return plain_dollars(held.amount) if held is not None else None

    def give_back(self) -> None:
        """Release the money: nothing was sent."""
        self._spend(0)

    def settle(self, error: DispatchError | None, cost: Decimal | None) -> None:
        """Replace the reservation by what the attempt cost; ``cost`` is ``None`` if that is not known."""
        held = self.shared or self.of_call
        if held is None:
            return
        spent = picodollars_up(cost) if cost is not None else 0
        if (error is None and cost is None) or (error is not None and error.possibly_billed):
            spent = max(spent, held.amount)
        self._spend(spent)

    def _spend(self, spent: int) -> None:
        if self.of_call is not None and self.call.store is not None:
            self.call.store.settle(self.of_call, spent)
            self.of_call = None
        if self.shared is not None:
            self._spending.store.settle(self.shared, spent, booked=self.booked)
            self.shared = None


logger = room_logger("accounting")

PATIENCE = 60.0
"""Seconds that a call waits for the store of budgets at most, within its deadline; the store may give up sooner."""
LEASE = 600.0
"""Seconds after its deadline when a reservation is taken for one of a dead process."""
WITHOUT_DEADLINE = 86_400.0
"""Seconds that a call without a deadline is assumed to take at most."""

Warn = Callable[[LimitWarning], None]


@attrs.frozen
class _Charge:
    """What asking a target may cost, in picodollars, and the budgets that this concerns; ``at`` is now, in microseconds."""

    target: Target
    claims: list[tuple[Budget, Claim]]
    amount: int
    at: int
    limited: bool = False
    """Whether the request sets ``max_tokens``."""


class Spending:
    """The budgets of a dispatcher and the store that they are kept in; safe under threads and after a fork."""

    def __init__(self, budgets: Sequence[Budget], clock: Clock, store: BudgetStore | None = None, warn: Warn | None = None) -> None:
        self.budgets = tuple(budgets)
        self.store = store if store is not None else MemoryBudgetStore()
        self._named = {budget.name: budget for budget in self.budgets}
        if warn is not None and any(budget.warned_from for budget in self.budgets):
            self.store.on_warning = lambda claim, balance: warn(_warning(self._named[claim.account.budget], balance))
        self.by_key = any(budget.per == "key" or "key" in budget.match for budget in self.budgets)
        """Whether any budget depends on which of a vendor's keys is shown."""
        self._by_call = any(budget.period == "call" for budget in self.budgets)
        self._most = {budget.name: (budget.most, budget.warned_from, budget.slides) for budget in self.budgets}
        self._clock = clock
        self._periods: dict[str, tuple[int, int]] = {}

    def new_call_budget(self, request: Request, origin: str | None = None) -> CallBudget:
        """What a call carries from its beginning; ``origin`` is for a request that names none."""
        return CallBudget(request, origin, MemoryBudgetStore() if self._by_call else None)

    def reserve(self, reservation: Reservation, target: Target, keys: Sequence[int], deadline: Deadline) -> BudgetExceeded | None:
        """Reserve what asking ``target`` may cost. If it must not be asked, reserve nothing and return the error that says why.

        ``keys`` are the numbers of the vendor's keys that may be shown, in order, if a budget counts by them: the first with money
        is the one to show (:meth:`Reservation.lease`). The error has ``try_elsewhere`` if another target may be asked instead.
        Amounts are noted in ``reservation`` before they are taken, so that an interruption at any point can give them back.
        """
        if not (self.by_key and keys):
            return self._reserve(reservation, target, None, deadline)
        reservation.asked = (target, deadline)
        refusals = []
        for key in keys:
            refusal = self._reserve(reservation, target, key, deadline)
            if refusal is None:
                reservation.key = key
                return None
            refusals.append(refusal)
        return refusals[0]

    def _reserve(self, reservation: Reservation, target: Target, key: int | None, deadline: Deadline) -> BudgetExceeded | None:
        charge = self._charge(reservation.call, target, key)
        if not isinstance(charge, _Charge):
            return charge
        left = deadline.remaining()
        until = charge.at + int(1e6 * (min(left, WITHOUT_DEADLINE) + LEASE))
        refusal = self._reserve_of_call(reservation, charge, until) if self._by_call else None
        shared = tuple([claim for budget, claim in charge.claims if budget.period != "call"])
        if refusal is not None or not shared:
            return refusal
        if not any(budget.strict for budget, _ in charge.claims):
            left /= 2  # a call that goes on without the store needs time for itself
        wanted = reservation.shared = Booking(unique_hex(16), shared, charge.amount, until)
        try:
            short = self.store.reserve(wanted, charge.at, min(PATIENCE, left))
            if short is None:
                return None
            refusal = _exceeded_error(charge, short)
        except BudgetStoreUnavailable as unavailable:
            reservation.shared = None
            deadline.check()
            refusal = _unavailable_error(charge, unavailable)
            if refusal is None:
                logger.warning("budgets: %s; %s is asked nevertheless, and booked later", unavailable, target)
                reservation.shared, reservation.booked = wanted, False
                return None
        reservation.shared = None
        reservation.give_back()
        return refusal

    def _reserve_of_call(self, reservation: Reservation, charge: _Charge, until: int) -> BudgetExceeded | None:
        """Reserve of the budgets that count by call, which are kept in memory."""
        own, store = tuple([claim for budget, claim in charge.claims if budget.period == "call"]), reservation.call.store
        if not own or store is None:
            return None
        reservation.of_call = Booking(unique_hex(16), own, charge.amount, until)
        short = store.reserve(reservation.of_call)
        if short is None:
            return None
        reservation.of_call = None
        return _exceeded_error(charge, short)

    def statuses(self) -> tuple[BudgetStatus, ...]:
        """Every account in its present period; budgets that count by call have none.

        Raises :class:`BudgetExceeded` if the store is unavailable.
        """
        now = micros(self._clock.now())
        lasting = {budget.name: budget for budget in self.budgets if budget.period != "call"}
        try:
            found = self.store.balances(list(lasting), now, PATIENCE) if lasting else []
        except BudgetStoreUnavailable as unavailable:
            raise BudgetExceeded(f"budgets cannot be looked at: {unavailable}", sent=False) from unavailable
        present = {name: self._claim(budget, "", now) for name, budget in lasting.items()}
        found = _present(found, present)
        seen = {one.account.key for one in found}
        idle = [
            AccountBalance(one.account, 0, 0)
            for name, one in present.items()
            if lasting[name].per == "dispatcher" and one.account.key not in seen
        ]
        place = list(lasting).index
        ordered = sorted([*found, *idle], key=lambda one: (place(one.account.budget), one.account.share))
        return tuple([_status(lasting[one.account.budget], one) for one in ordered])

    def reset(self, name: str, share: str | None) -> int:
        """Have nothing spent in a budget's present period, in all accounts or in that of one share; return their number.

        Raises :class:`ConfigError` for a budget that is not configured, :class:`LedgerError` if the store is unavailable.
        """
        budget = self._named.get(name) if isinstance(name, str) else None
        lasting = [one.name for one in self.budgets if one.period != "call"]
        if budget is None or budget.period == "call":
            told = "is counted by call, and has nothing to reset" if budget is not None else "is not configured"
            raise ConfigError(
                f"budget: {name!r} {told}; {choices(str(name), lasting, 'give {}') if lasting else 'there is no other'}"
            )
        if share is not None and not isinstance(share, str):
            raise ConfigError(f"share: {share!r} is not a text; give whose account it is, or None for all")
        try:
            return self.store.reset(name, account_name(share) if share is not None else None, micros(self._clock.now()), PATIENCE)
        except BudgetStoreUnavailable as unavailable:
            raise LedgerError(f"budget {name!r} is not reset: {unavailable}; try again when it is back") from unavailable

    def forecast(self, request: Request, targets: Iterable[Target]) -> tuple[BudgetForecast, ...]:
        """What asking each of these targets would reserve now, and what would be in the way; reserves nothing."""
        call, found = CallBudget(request), []
        for target in targets:
            charge = self._charge(call, target, None)
            if charge is None:
                continue
            refusal = charge if isinstance(charge, BudgetExceeded) else self._refusal(charge)
            reserves = None if isinstance(charge, BudgetExceeded) or not has_price(target) else plain_dollars(charge.amount)
            found.append(
                BudgetForecast(target=str(target), reserves=reserves, refusal=refusal.message if refusal is not None else "")
            )
        return tuple(found)

    def _refusal(self, charge: _Charge) -> BudgetExceeded | None:
        """The error that the charge would meet as things stand, or ``None``."""
        try:
            known = self.store.balances([budget.name for budget, _ in charge.claims], charge.at, PATIENCE)
        except BudgetStoreUnavailable:
            known = []
        held = {one.account.key: one for one in known}
        for _, claim in charge.claims:
            balance = held.get(claim.account.key, AccountBalance(claim.account, 0, 0))
            if claim.since:
                balance = _joined(known, claim, charge.amount)
            if balance.spent + balance.reserved + charge.amount > claim.limit:
                return _exceeded_error(charge, balance)
        return None

    def _charge(self, call: CallBudget, target: Target, key: int | None) -> _Charge | BudgetExceeded | None:
        """What to reserve; ``None`` if no budget is concerned or the target is free."""
        facts = {**call.facts, "vendor": target.vendor, "model": str(target), "key": f"{target.vendor}#{key or 1}"}
        concerned = [budget for budget in self.budgets if not budget.match or budget.concerns(facts)]
        if not concerned or costs_nothing(target):
            return None
        priced, extra, now = has_price(target), call.request.extra_params, self._clock.now()
        if not priced or (extra and unseen_model(extra) is not None):
            refusing = next((budget for budget in concerned if budget.unpriced == "refuse"), None)
            if refusing is not None:
                return _unpriced_error(refusing, target)
        amount, at = picodollars_up(bound(call.measure, call.request, target, now)) if priced else 0, micros(now)
        claims = [(budget, self._claim(budget, budget.share(facts), at)) for budget in concerned]
        return _Charge(target, claims, amount, at, call.request.max_tokens is not None)

    def _claim(self, budget: Budget, share: str, now: int) -> Claim:
        """A claim on an account in the present period; a period is computed once."""
        most, warn, slides = self._most[budget.name]
        if slides:
            begins, ends = budget.grain_at(now)
            return Claim(Account(budget.name, share, begins, ends), most, now, warn)
        period = self._periods.get(budget.name)
        if period is None or now < period[0] or 0 < period[1] <= now:
            found = period_at(budget.period, budget.clocks, moment(now), WEEKDAYS.index(budget.week_start))
            period = self._periods[budget.name] = (micros(found.begins), micros(found.ends) if found.ends is not None else 0)
        return Claim(Account(budget.name, share, *period), most, 0, warn)

    def close(self) -> None:
        """Close the store's connections."""
        self.store.close()


def spending_of(budgets: Sequence[Budget], ledger: Any, clock: Clock, warn: Warn | None = None) -> Spending | None:
    """The spending of these budgets, ``None`` without any; kept in the ledger's database if it has one, else in memory."""
    if not budgets:
        return None
    if not hasattr(ledger, "transaction"):
        return Spending(budgets, clock, warn=warn)
    from .database import DatabaseBudgetStore  # late: it needs SQLAlchemy

    return Spending(budgets, clock, DatabaseBudgetStore(ledger), warn)


def _joined(known: Iterable[AccountBalance], claim: Claim, amount: int = 0) -> AccountBalance:
    """What a sliding period holds, of the balances of its accounts."""
    account = claim.account
    own = [one for one in known if (one.account.budget, one.account.share) == account.key[:2] and one.account.ends > claim.since]
    return AccountBalance.join(claim, [(one.account.ends, one.spent, one.reserved) for one in own], amount)


def _present(found: Sequence[AccountBalance], present: Mapping[str, Claim]) -> list[AccountBalance]:
    """The balances of the present periods, by share; ``present`` has a claim of each budget."""
    kept = []
    sliding: dict[tuple[str, str], list[AccountBalance]] = {}
    for one in found:
        claim = present[one.account.budget]
        if claim.since:
            sliding.setdefault((one.account.budget, one.account.share), []).append(one)
        elif one.account.begins == claim.account.begins:
            kept.append(one)
    for (budget, share), several in sliding.items():
        claim = present[budget]
        kept.append(_joined(several, attrs.evolve(claim, account=attrs.evolve(claim.account, share=share))))
    return kept


def _status(budget: Budget, balance: AccountBalance) -> BudgetStatus:
    account, slides = balance.account, budget.slides
    begins = account.ends - 2 * slides if slides else account.begins
    return BudgetStatus(
        budget=budget.name,
        share=account.share,
        limit=budget.limit,
        spent=plain_dollars(balance.spent),
        reserved=plain_dollars(balance.reserved),
        begins=moment(begins),
        ends=moment(account.ends) if account.ends and not slides else None,
        period=budget.period,
    )


def _warning(budget: Budget, balance: AccountBalance) -> LimitWarning:
    """What observers are told when ``warn_at`` of a budget is spent."""
    status = _status(budget, balance)
    return LimitWarning(
        source="budget",
        name=budget.name,
        share=status.share,
        unit="usd",
        limit=status.limit,
        used=status.spent,
        period=budget.period,
        ends=status.ends,
    )


def _exceeded_error(charge: _Charge, balance: AccountBalance) -> BudgetExceeded:
    """The error for a charge that an account cannot pay."""
    budget = next(budget for budget, claim in charge.claims if claim.account.key == balance.account.key)
    status = _status(budget, balance)
    whose = f" of {status.share!r}" if status.share else ""
    again = balance.free_at or (0 if budget.slides else balance.account.ends)
    ends = moment(again) if again else None
    within = f" in the last {budget.period}" if budget.slides else ""
    when = f"; {'there is room again' if within else 'its period ends'} {ends:%Y-%m-%d %H:%M:%S} UTC" if ends is not None else ""
    return BudgetExceeded(
        f"budget {budget.name!r}{whose}: {shown(status.spent)} of {shown(budget.limit)} are spent{within},"
        f" {shown(status.reserved)} are reserved, and this may cost up to {shown(plain_dollars(charge.amount))}{when};"
        f" {'shorten the request or its' if charge.limited else 'set'} max_tokens, or raise limit",
        budget=budget.name,
        limit=budget.limit,
        spent=status.spent,
        reserved=status.reserved,
        needed=plain_dollars(charge.amount),
        ends=ends,
        retry_after=max(0, again - charge.at) / 1e6 if again else None,
        try_elsewhere=budget.on_exceed == "next_target",
        sent=False,
        vendor=charge.target.vendor,
        model=charge.target.model,
    )


def _unavailable_error(charge: _Charge, cause: BudgetStoreUnavailable) -> BudgetExceeded | None:
    """The error for a strict budget whose store is unavailable; ``None`` if no budget is strict."""
    budget = next((budget for budget, _ in charge.claims if budget.strict), None)
    if budget is None:
        return None
    text = f"budget {budget.name!r} cannot be looked at: {cause}; bring it back, or let calls go on without it by strict=False"
    limit, target = budget.limit, charge.target
    facts: dict[str, Any] = {"code": "budget_unavailable", "sent": False, "vendor": target.vendor, "model": target.model}
    error = BudgetExceeded(text, budget=budget.name, limit=limit, **facts)
    error.__cause__ = cause
    return error


def _unpriced_error(budget: Budget, target: Target) -> BudgetExceeded:
    """The error for a target without a known price."""
    return BudgetExceeded(
        f"budget {budget.name!r}: no price of {target} is known, so it cannot be kept; give one with llmdispatcher.catalog.overlay,"
        ' ask another model, or allow this one by unpriced="allow"',
        budget=budget.name,
        limit=budget.limit,
        code="model_unpriced",
        try_elsewhere=budget.on_exceed == "next_target",
        sent=False,
        vendor=target.vendor,
        model=target.model,
    )
