"""Variables that ``sh`` can source: for start scripts and images of one's own."""

from __future__ import annotations

import shlex
from typing import Final, Literal

from optikit.errors import BadInput
from optikit.exports._launch import KEY_VARIABLE, image_of, launch_of
from optikit.exports._place import path_here
from optikit.exports._proof import comment, stated
from optikit.exports.base import ON_MACHINE, DeploySettings
from optikit.spec.bundle import Bundle

__all__ = ["EXPORT"]

_LOOPBACK = "127.0.0.1"


class EnvExport:
    """What the engine reads, exported; what a script reads, as ``OPTIKIT_*``."""

    name = "env"
    of: Final[Literal["bundle"]] = "bundle"
    reads = ON_MACHINE | {"image"}

    def render(self, bundle: Bundle, settings: DeploySettings) -> str:
        """One assignment a line (a value may have several)."""
        launch = launch_of(bundle)
        python, model = settings.python or launch.recorded, path_here(bundle, settings)
        argv = launch.argv(python, model, settings.host or _LOOPBACK, settings.port)
        facts = {
            "OPTIKIT_IMAGE": settings.image or _image(bundle),
            "OPTIKIT_MODEL": model,
            "OPTIKIT_SERVED_NAME": launch.served_name,
            "OPTIKIT_COMMAND": shlex.join(argv),
            "OPTIKIT_CERTIFIED_ARGUMENTS": shlex.join(launch.certified),
        }
        for key, value in stated(bundle).items():
            facts[key.upper().replace("/", "_").replace("-", "_")] = value
        head = comment(
            bundle,
            f"Variables of the server of {launch.served_name}",
            'Start it: . ./FILE && eval "exec $OPTIKIT_COMMAND"',
            f"Clients must present a key where {KEY_VARIABLE} is set in the environment.",
        )
        exported = [f"export {k}={shlex.quote(v)}" for k, v in bundle.facts.environment.items()]
        told = [f"{key}={shlex.quote(value)}" for key, value in facts.items()]
        return head + "\n".join([*exported, *told]) + "\n"


def _image(bundle: Bundle) -> str:
    """Empty where no public image has the version: a script may need none."""
    try:
        return image_of(bundle)
    except BadInput:
        return ""


EXPORT = EnvExport()
