"""optikit login URL: keep a service's token for later commands."""

from __future__ import annotations

import argparse

HELP = "keep the token of a service, so that --server URL finds it"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments; a token is none of them: everybody could read it there."""
    parser.add_argument("url", metavar="URL", help="such as https://optikit.example:8470")
    parser.add_argument(
        "--token-stdin",
        action="store_true",
        help="read the token from standard input; else $OPTIKIT_TOKEN, else a prompt",
    )
    parser.add_argument("--json", action="store_true")


def run(args: argparse.Namespace) -> int:
    """Check the token at once, then keep it."""
    from optikit.cli._print import as_json, say
    from optikit.cli._server import keep_token
    from optikit.errors import BadInput
    from optikit.service.client import Server, service_url

    url = service_url(args.url)
    token = _token(args.token_stdin)
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise BadInput("no token was given, or it holds signs that a token never has")
    team = Server(url, token).team()
    file = keep_token(url, token)
    if args.json:
        as_json({"url": url, "team": team["name"], "kept_in": str(file)})
    else:
        say(f"{url}: team {team['name']}; the token is kept in {file}")
    return 0


def _token(from_stdin: bool) -> str:
    import getpass
    import os
    import sys

    if from_stdin:
        return sys.stdin.readline().strip()
    return (os.environ.get("OPTIKIT_TOKEN") or getpass.getpass("Token: ")).strip()
