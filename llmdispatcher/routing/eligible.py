"""Who gets a prompt. One rule holds for plain calls, streams, pools, hedges, balancing, embeddings, token counts and explanations.

A vendor may be asked for a model's name

- where it is known to have the model, or the name is new and of a family that is the vendor's own;
- where it is the only vendor there is, unless it is known not to have the model: the name is another's, or none of those that its
  user gave;
- where it is named for every name: it must host models of any maker. So are named the default and the fallback vendor, one with a
  weight or priority of its own in :class:`Balance`, and, when nobody is known to have the model, those among which a mode of the
  user's own chooses; a balance without weights and priorities names nobody. Of the default vendor less is asked where a vendor of
  the user's own has the model: then the name is no typo, and no catalog tells who else has it;
- where it is named for this name, by a reference, ``send_to_vendor``, a pool or a rule: it must not be known to lack it.

Everybody else is left out, whatever happens to the others.
"""

from __future__ import annotations

import enum

import attrs

from ..catalog import NameClaim, Target


class Named(enum.Enum):
    """How a vendor was named by the user."""

    NOT = "not"
    """Not at all; it is only registered."""
    VENDOR = "vendor"
    """For whatever is asked."""
    DEFAULT = "default"
    """For whatever is asked, as the first."""
    MODEL = "model"
    """For this very name."""


def may_be_asked(claim: NameClaim, named: Named = Named.NOT, *, alone: bool = False, shared: bool = False) -> bool:
    """Whether a vendor with such a claim on a model's name may be asked. ``shared``: a vendor of the user's own has the model."""
    if claim.has_it or claim in (NameClaim.FOREIGN, NameClaim.CLOSED):
        return claim.has_it
    if alone or named is Named.MODEL:
        return True
    return named is not Named.NOT if claim is NameClaim.ANY else named is Named.DEFAULT and shared


@attrs.frozen
class Reserve:
    """Targets that are asked only under a condition.

    ``held`` may be asked where a rule names them, or where nobody else can be asked and a mode of the user's own chooses among
    them; each with what is known about it and the model's name. ``stand_ins`` are models of the fallback vendor for
    one that it does not have, the best choice first: the first that is able is asked after everybody else.
    """

    held: tuple[tuple[Target, NameClaim], ...] = ()
    stand_ins: tuple[Target, ...] = ()
