"""What no table of names can do: run after ``scripts.rename``, once; deleted with it.

Each edit finds its file by what the file holds, so that it works on any layout, and fails loudly where that is not found once.
What only fits one layout is printed as left to do where it does not fit. Then ``ruff check --fix`` and ``ruff format``.
"""

# ruff: noqa: E501  # the changelog's lines are long

from __future__ import annotations

import re
import sys
from pathlib import Path

from .rename import ROOT, files
from .rename_texts import EDITS, FLAT, LINES

CHANGELOG = """### Changed

- Public names are the field's own, without aliases. Write the new name where you wrote the old one, `old` → `new`:
  - `Standing` → `TargetStatus`, its `parked_for` → `cooldown` (in `as_dict()` and `--json` too); `plan.standings`, `plan.standing()` → `plan.statuses`, `plan.status()`.
  - `PassedOver` → `SkippedTarget`, one class for `plan.skipped` and `trace.skipped`, which was `trace.passed_over`; its `why` → `reason`. In `as_dict()` and `--json` one
    list, `skipped`, has both, each entry with `target`, `vendor`, `model`, `reason`, `code` and `at`.
  - `Outlook` → `BudgetForecast`; `Headroom` → `RateLimitRemaining`, `response.headroom` → `response.rate_limit_remaining`; `Situation` → `BalanceContext`.
  - `Listener` → `Observer`; `Verification` → `ReceiptVerification`.
  - `Pattern`, `MaxLength`, `PersonalData`, `MatchesSchema` → `PatternGuard`, `MaxLengthGuard`, `PersonalDataGuard`, `SchemaGuard`.
  - `AnswerCache` is no public name; `dispatcher.cache` has its `stats()` and `clear()`.
  - `ledger.writing()` → `ledger.transaction()`, `ledger.stats().away` → `.unavailable`; the `usage()` of a logged call takes `response=`, which was `answer=`.
  - `receipts.certified()`, `receipts.uncertified()` → `receipts.certified_calls()`, `receipts.uncertified_calls()`.
  - `registry.pinned_to()`, `.held()`, `.following()` → `.with_versions()`, `.editions()`, `.follow()`; `lockfile.told_missing()` → `.describe_missing()`.
  - `deadline.exceeded()` → `deadline.to_error()`; `Embeddings.joined()`, `VendorConfig.merged()`, `RateLimitStatus.together()` → `.join()`, `.merge()`, `.combine()`.
  - In `llmdispatcher.testing`: `Answer` → `SimulatedResponse`, its `limited()` → `truncate()`; `VendorSimulator(answers=...)`, `simulator.answers` → `responses`;
    `SimulatedRequest.asked` → `.server_request`; `Trouble` → `ApiError`, and `trouble=` → `api_error=`; `DEAD_ENDS` → `UNREACHABLE`; in `faults`, `Scene` →
    `FaultContext`, its `whole()` → `encode()`.
- `Dispatcher(ledger=...)` takes any `CallLog`: the protocol of what writes calls down (`began`, `settled`, `ended`, `flush`).

"""


def log_changes() -> bool:
    """Write the changes into the changelog, ahead of the other sections of what is not released."""
    path = ROOT / "CHANGELOG.md"
    text = path.read_text(encoding="utf-8")
    if "### Changed\n" in text.partition("## [Unreleased]")[2].partition("\n## [")[0]:
        return "`TargetStatus`" in text
    path.write_text(text.replace("## [Unreleased]\n\n", f"## [Unreleased]\n\n{CHANGELOG}", 1), encoding="utf-8")
    return True


def edit(where: str, old: str, new: str) -> bool:
    """Replace a text that stands in one file of ``where`` once; ``False`` where it does not."""
    holders = [
        path for path in files() if path.relative_to(ROOT).as_posix().startswith(where) and old in path.read_text(encoding="utf-8")
    ]
    if len(holders) != 1 or holders[0].read_text(encoding="utf-8").count(old) != 1:
        return False
    holders[0].write_text(holders[0].read_text(encoding="utf-8").replace(old, new), encoding="utf-8")
    return True


def holder(pattern: str) -> Path:
    """The one file of the package that holds a line."""
    found = [path for path in (ROOT / "llmdispatcher").rglob("*.py") if re.search(pattern, path.read_text(encoding="utf-8"), re.M)]
    if len(found) != 1:
        raise SystemExit(f"{pattern}: {len(found)} files hold it, not one")
    return found[0]


def relative(user: Path, module: Path) -> str:
    """How one module of the package names another in an import."""
    here, there = user.parent.relative_to(ROOT).parts, list(module.with_suffix("").relative_to(ROOT).parts)
    same = 0
    while same < min(len(here), len(there) - 1) and here[same] == there[same]:
        same += 1
    return "." * (len(here) - same + 1) + ".".join(there[same:])


def use_call_log(user: Path) -> None:
    """Import the protocol beside the ledger, which ruff takes out where it is not used any more."""
    text, module = user.read_text(encoding="utf-8"), holder(r"^class CallLog\(Protocol\)")
    if user == module:
        return
    line = f"from {relative(user, module)} import CallLog\n"
    ledger = re.search(r"^    from \S+ import Ledger\n", text, re.M)
    if line in text:
        return
    if ledger is None:
        raise SystemExit(f"{user}: nothing imports Ledger here; add by hand under TYPE_CHECKING: {line}")
    user.write_text(text[: ledger.start()] + "    " + line + text[ledger.start() :], encoding="utf-8")


def export_skipped_target() -> None:
    """The module of Trace hands SkippedTarget on, as the door of the package takes it from there."""
    path = holder(r"^class Trace\(")
    text = path.read_text(encoding="utf-8")
    if "import SkippedTarget as SkippedTarget" in text or re.search(r"^class SkippedTarget", text, re.M):
        return
    found = re.search(r"^from (\S+) import (.*\bSkippedTarget\b.*)$", text, re.M)
    if found is None:
        raise SystemExit(
            f"{path}: the import of SkippedTarget is not on one line; write it as `import SkippedTarget as SkippedTarget`"
        )
    rest = [name.strip() for name in found[2].split(",") if name.strip() != "SkippedTarget"]
    kept = f"from {found[1]} import {', '.join(rest)}\n" if rest else ""
    path.write_text(
        text.replace(found[0] + "\n", f"{kept}from {found[1]} import SkippedTarget as SkippedTarget\n"), encoding="utf-8"
    )


def shorten_simulator() -> None:
    """The docstring of the simulator, however its lines are broken."""
    path = holder(r"^class VendorSimulator\b")
    text = path.read_text(encoding="utf-8")
    said = re.compile(r"\(said as it is, whatever\s+is\s+in\s+it\), ?")
    shorter = said.sub(lambda found: "(sent as it is)," + ("\n    " if "\n" in found[0] else " "), text)
    path.write_text(shorter, encoding="utf-8")


def import_any() -> None:
    """SkippedTarget needs typing.Any where its module has not got it."""
    path = holder(r"^class SkippedTarget\b")
    text = path.read_text(encoding="utf-8")
    if re.search(r"^from typing import .*\bAny\b", text, re.M):
        return
    ahead = re.search(r"^import attrs\n", text, re.M)
    if ahead is None:
        raise SystemExit(f"{path}: no import of attrs")
    path.write_text(text[: ahead.start()] + "from typing import Any\n\n" + text[ahead.start() :], encoding="utf-8")


def main() -> int:
    """Make all edits; 1 where one was not found."""
    missing = [old for where, old, new in EDITS if not edit(where, old, new)]
    left = [(old, new) for where, old, new in FLAT + LINES if not edit(where, old, new)]
    use_call_log(holder(r"^class Dispatcher\b"))
    use_call_log(holder(r"^        self\.ledger: CallLog \| None = None$"))
    import_any()
    shorten_simulator()
    export_skipped_target()
    if not log_changes():
        left.append(("CHANGELOG.md, in the section Changed:\n", CHANGELOG))
    for old in missing:
        print(f"NOT FOUND ONCE:\n{old}\n")
    for old, new in left:
        print(f"by hand, on this layout:\n- {old}\n+ {new}")
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
