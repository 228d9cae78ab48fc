"""optikit serve: a service for many teams in front of one cluster."""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = "serve jobs of many teams over HTTP, with a queue in front of the cluster"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument(
        "--home", type=Path, metavar="DIR", help="of the service; default: $OPTIKIT_HOME, .optikit"
    )
    parser.add_argument(
        "--host", default="127.0.0.1", help="default: 127.0.0.1, which only this machine reaches"
    )
    parser.add_argument("--port", type=int, default=8470, help="default: 8470; 0: a free one")
    parser.add_argument(
        "--site", type=Path, metavar="site.yaml", help="nodes, folders for data, what jobs may run"
    )
    parser.add_argument(
        "--database",
        metavar="URL",
        help="such as postgresql://USER@HOST/NAME; default: a file in the home",
    )
    parser.add_argument(
        "--index",
        metavar="URL",
        help="keep an index of all teams' jobs up to date: such as postgresql://USER@HOST/NAME, or "
        "'default', a file in the home (default: $OPTIKIT_INDEX_URL, else none)",
    )
    parser.add_argument("--tls-cert", type=Path, metavar="FILE", help="certificate, PEM")
    parser.add_argument("--tls-key", type=Path, metavar="FILE", help="its key, PEM")
    parser.add_argument(
        "--behind-tls-proxy",
        action="store_true",
        help="something in front of the service does TLS: a wider --host needs no certificate",
    )


def run(args: argparse.Namespace) -> int:
    """Serve until a signal ends it."""
    from optikit.api import default_home
    from optikit.cli._print import say
    from optikit.service.installed import must_be_installed

    must_be_installed()
    from optikit.service.serve import Asked, serve

    asked = Asked(
        home=(args.home or default_home()).absolute(),
        host=args.host,
        port=args.port,
        site=args.site,
        database=args.database,
        index=args.index,
        tls_cert=args.tls_cert,
        tls_key=args.tls_key,
        behind_tls_proxy=args.behind_tls_proxy,
    )
    return serve(asked, say)
