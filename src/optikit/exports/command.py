"""One command for ``sh`` on the machine that serves."""

from __future__ import annotations

import shlex
from typing import Final, Literal

from optikit.exports._launch import KEY_VARIABLE, launch_of
from optikit.exports._place import path_here
from optikit.exports._proof import comment
from optikit.exports._quote import shell
from optikit.exports.base import ON_MACHINE, DeploySettings
from optikit.spec.bundle import Bundle

__all__ = ["EXPORT"]

_LOOPBACK = "127.0.0.1"


class CommandExport:
    """The certified command, to paste or to run as a file."""

    name = "command"
    of: Final[Literal["bundle"]] = "bundle"
    reads = ON_MACHINE

    def render(self, bundle: Bundle, settings: DeploySettings) -> str:
        """Comments and one command."""
        launch = launch_of(bundle)
        python, model = settings.python or launch.recorded, path_here(bundle, settings)
        argv = launch.argv(python, model, settings.host or _LOOPBACK, settings.port)
        variables = [f"{name}={value}" for name, value in bundle.facts.environment.items()]
        told = shlex.join(["env", *variables])
        head = comment(
            bundle,
            f"Serves {launch.served_name}",
            f"Clients must present a key where {KEY_VARIABLE} is set in the environment.",
        )
        return f"{head}{told} \\\n    {shell(argv)}\n"


EXPORT = CommandExport()
