"""optikit archive index, archive query: the archives in SQL, and questions to it."""

from __future__ import annotations

import argparse
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from optikit.errors import BadInput

__all__ = ["add_index", "arguments", "query", "query_arguments", "run"]

_WHERE = "sqlite:///PATH, postgresql://USER@HOST/NAME (password: PGPASSWORD or ~/.pgpass), or"


def add_index(parser: argparse.ArgumentParser, told: str) -> None:
    """Add ``--index``."""
    parser.add_argument("--index", metavar="URL", help=f"{told} {_WHERE} 'default': in the home")


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``index``."""
    parser.add_argument(
        "jobs", nargs="*", metavar="JOB", help="ids, beginnings of them, or 'last'; none: every job"
    )
    parser.add_argument(
        "--to",
        metavar="URL",
        help=f"{_WHERE} 'default' (default: $OPTIKIT_INDEX_URL, else index.db in the home)",
    )
    parser.add_argument(
        "--rebuild",
        action="store_true",
        help="read every job again, and forget jobs whose archives are gone",
    )
    parser.add_argument("--json", action="store_true")


def run(args: argparse.Namespace) -> int:
    """Bring the index up to date."""
    from dataclasses import asdict

    from optikit.api import index_archives
    from optikit.cli._print import as_json, rows_table, say

    if args.rebuild and args.jobs:
        raise BadInput("--rebuild reads every job again; name no jobs, or leave it out")
    shown, found = index_archives(args.jobs, args.to, rebuild=args.rebuild)
    if args.json:
        as_json({"index": shown, "homes": [asdict(one) for one in found]})
        return 0
    rows = [{**asdict(one), "damaged": ", ".join(one.damaged)} for one in found]
    columns = ("home", "read", "unchanged", "removed", "damaged")
    say(rows_table(f"Jobs in {shown}", rows, columns))
    return 0


def query_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``query``."""
    parser.add_argument("sql", metavar="SQL", help="one SELECT; nothing can be changed by it")
    add_index(parser, "where:")
    parser.add_argument(
        "--limit", type=int, metavar="N", default=1000, help="rows at most; default: 1000"
    )
    parser.add_argument("--json", action="store_true", help="a list of objects, a row each")


def query(args: argparse.Namespace) -> int:
    """Ask and print."""
    from optikit.api import ask_index
    from optikit.cli._print import as_json, rows_table, say

    if args.limit < 1:
        raise BadInput(f"--limit {args.limit}: ask for one row or more")
    names, found = ask_index(args.sql, args.index, args.limit + 1)
    rows = [dict(zip(names, map(_shown, row), strict=True)) for row in found[: args.limit]]
    if args.json:
        as_json(rows)
        return 0
    say(rows_table(f"{len(rows)} rows", rows, tuple(names)))
    if len(found) > args.limit:
        say(f"there are more; --limit {args.limit}")
    return 0


def _shown(value: Any) -> Any:
    """As JSON and a terminal know it."""
    if isinstance(value, date | datetime):
        return value.isoformat()
    if isinstance(value, Decimal):  # PostgreSQL's sums of integers
        return int(value) if value == value.to_integral_value() else float(value)
    plain = value is None or isinstance(value, str | int | float | bool | list | dict)
    return value if plain else str(value)
