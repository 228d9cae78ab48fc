"""optikit archive gc: what may go from the disk, and taking it away."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from optikit.housekeeping import Collected
    from optikit.spec.retention import Decision, Policy, Seen

__all__ = ["arguments", "run"]


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the action's arguments."""
    parser.add_argument(
        "--older-than",
        metavar="AGE",
        help="archives of jobs that ended so long ago, such as 30d, 2w or 12h, and scores of "
        "uncompressed models that were not used since",
    )
    parser.add_argument(
        "--keep-under",
        metavar="SIZE",
        help="only as much, the oldest first, as brings the home below, such as 500GB",
    )
    parser.add_argument(
        "--state",
        action="append",
        default=[],
        metavar="STATE",
        help="only jobs in that state; repeat it for more. Jobs that could be resumed (failed, "
        "cancelled, rejected, interrupted, starting) go only when named (default: done, negative, "
        "inconclusive)",
    )
    parser.add_argument(
        "--shipped-only",
        action="store_true",
        help="also models and datasets of ended jobs that stay, but for what their bundles hold",
    )
    parser.add_argument("--dry-run", action="store_true", help="only show what would go")
    parser.add_argument(
        "--yes", action="store_true", help="do not ask; needed where there is no terminal"
    )
    parser.add_argument("--json", action="store_true", help="print what goes, or went, as JSON")


def run(args: argparse.Namespace) -> int:
    """Show, ask, remove."""
    from optikit.api import collect_garbage, default_home, look_for_garbage
    from optikit.cli._print import bytes_text, say
    from optikit.errors import BadInput

    if args.dry_run and args.yes:
        raise BadInput("--dry-run shows, --yes removes; choose one")
    policy, home = _policy(args), default_home()
    seen, decision = look_for_garbage(home, policy)
    if not args.json:
        _show(decision, seen)
    if not decision.remove:
        return _ended(args, decision, None)
    if args.dry_run or not (args.yes or _agreed(args)):
        if not args.dry_run and not args.json:
            say("nothing was removed" + ("" if sys.stdin.isatty() else "; --yes removes it"))
        return _ended(args, decision, None)
    done = collect_garbage(home, seen, decision)
    if not args.json:
        say(f"{len(done.removed)} removed, {bytes_text(done.freed_bytes)} freed")
        for item, why in (*done.spared, *done.failed):
            say(f"{item.kind} {item.name} stays: {why}")
    return _ended(args, decision, done)


def _policy(args: argparse.Namespace) -> Policy:
    from optikit.core.retention import age_s, size_bytes, states_of
    from optikit.spec.retention import Policy

    return Policy(
        older_than_s=None if args.older_than is None else age_s(args.older_than),
        keep_under_bytes=None if args.keep_under is None else size_bytes(args.keep_under),
        states=states_of(args.state),
        shipped_only=args.shipped_only,
    )


def _agreed(args: argparse.Namespace) -> bool:
    """Whether a person at a terminal says yes."""
    if args.json or not (sys.stdin.isatty() and sys.stdout.isatty()):
        return False
    try:
        return input("remove all of it? [y/N] ").strip().lower() in ("y", "yes")
    except EOFError:
        return False


def _show(decision: Decision, seen: Seen) -> None:
    from optikit.cli._print import bytes_text, rows_table, say

    rows = [
        {"what": item.kind, "name": item.name, "size": bytes_text(item.bytes), "why": item.why}
        for item in decision.remove
    ]
    if rows:
        say(rows_table("Would go", rows, ("what", "name", "size", "why")))
    kept = Counter(f"{item.kind}: {_reason(item.why)}" for item in decision.keep)
    if kept:
        lines = [{"stays because": why, "": str(count)} for why, count in sorted(kept.items())]
        say(rows_table("Stays", lines, ("", "stays because")))
    say(
        f"{bytes_text(seen.total_bytes)} lie there; "
        + (f"{bytes_text(decision.freed_bytes)} would be freed" if rows else "nothing would go")
    )


def _reason(why: str) -> str:
    """The same for all jobs."""
    return "of a job that stays" if why.startswith("of job ") else why


def _ended(args: argparse.Namespace, decision: Decision, done: Collected | None) -> int:
    """Exit code 1 where something could not be removed, or the size asked for is not reached."""
    from optikit.cli._print import as_json, bytes_text, say
    from optikit.core.retention import size_bytes

    failed = bool(done and done.failed)
    if args.json:
        as_json(_facts(decision, done))
    if args.keep_under is not None and decision.left_bytes > size_bytes(args.keep_under):
        if not args.json:
            say(
                f"{bytes_text(decision.left_bytes)} are left: more than {args.keep_under}, and "
                "nothing else may go by these rules"
            )
        return 1
    return 1 if failed else 0


def _facts(decision: Decision, done: Collected | None) -> dict[str, Any]:
    def rows(pairs: Any) -> list[dict[str, Any]]:
        return [{**item.model_dump(mode="json"), "happened": why} for item, why in pairs]

    return {
        "would_remove": [item.model_dump(mode="json") for item in decision.remove],
        "keep": [item.model_dump(mode="json") for item in decision.keep],
        "freed_bytes": done.freed_bytes if done else 0,
        "left_bytes": decision.left_bytes,
        "removed": [item.model_dump(mode="json") for item in done.removed] if done else [],
        "spared": rows(done.spared) if done else [],
        "failed": rows(done.failed) if done else [],
    }
