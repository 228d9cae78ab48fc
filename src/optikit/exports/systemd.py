"""A unit file for a machine with the engine's Python environment."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Final, Literal

from optikit.errors import BadInput
from optikit.exports._launch import KEY_VARIABLE, launch_of, name_of
from optikit.exports._place import path_here
from optikit.exports._proof import comment, one_line, stated
from optikit.exports._quote import systemd
from optikit.exports.base import ON_MACHINE, DeploySettings
from optikit.spec.bundle import Bundle

__all__ = ["EXPORT"]

_LOOPBACK, _ANY = "127.0.0.1", ("0.0.0.0", "::")  # noqa: S104  # compared, not bound
_WAIT = (
    "import sys, time, urllib.request as r\n"
    "while True:\n"
    " try: r.build_opener(r.ProxyHandler({})).open(sys.argv[1], timeout=5); break\n"
    " except OSError: time.sleep(2)"
)
"""``/health`` answers: only then the unit has started. systemd ends it after TimeoutStartSec."""


class SystemdExport:
    """One service unit, which has started once the server answers."""

    name = "systemd"
    of: Final[Literal["bundle"]] = "bundle"
    reads = ON_MACHINE | {"name", "startup_s"}

    def render(self, bundle: Bundle, settings: DeploySettings) -> str:
        """The unit.

        Raises:
            BadInput: the interpreter is known by no absolute path.
        """
        launch = launch_of(bundle)
        name, host = settings.name or name_of(launch), settings.host or _LOOPBACK
        python = settings.python or launch.recorded
        if not PurePosixPath(python).is_absolute():
            raise BadInput(
                f"systemd needs the engine's interpreter by its absolute path, found {python!r}; "
                "give --python"
            )
        argv = launch.argv(python, path_here(bundle, settings), host, settings.port)
        reached = _LOOPBACK if host in _ANY else host
        where = f"[{reached}]" if ":" in reached else reached
        wait = [python, "-c", _WAIT, f"http://{where}:{settings.port}/health"]
        keys = f"/etc/optikit/{name}.env"
        variables = [f"{key}={value}" for key, value in bundle.facts.environment.items()]
        # caches of compiled kernels live through a restart
        variables += [f"HOME=/var/cache/{name}"]
        proof = stated(bundle)
        certified = "\n".join(f"{_header(key)}={_plain(text)}" for key, text in proof.items())
        head = comment(
            bundle,
            f"Serves {launch.served_name}: /etc/systemd/system/{name}.service",
            f"Clients must present a key where {keys} (mode 0600) sets {KEY_VARIABLE}.",
            "The unit's user is made for it: it must be able to read interpreter and model.",
        )
        title = _plain(f"{launch.served_name} ({proof['optikit/claim']})")
        return f"""{head}[Unit]
Description={title}
After=network-online.target
Wants=network-online.target

[Service]
Type=exec
{"".join(f"Environment={systemd(pair)}{chr(10)}" for pair in variables)}EnvironmentFile=-{keys}
ExecStart={_command(argv)}
ExecStartPost={_command(wait)}
TimeoutStartSec={settings.startup_s}
TimeoutStopSec=120
KillMode=mixed
Restart=on-failure
RestartSec=10
DynamicUser=yes
CacheDirectory={name}
NoNewPrivileges=yes
PrivateTmp=yes
ProtectSystem=strict
CapabilityBoundingSet=

[Install]
WantedBy=multi-user.target

[X-OptiKIT]
{certified}
"""


def _command(argv: list[str]) -> str:
    """The colon keeps systemd from putting variables in."""
    return " ".join(map(systemd, [f":{argv[0]}", *argv[1:]]))


def _header(key: str) -> str:
    """``optikit/rate-rps`` as a key of a section of ours: ``RateRps``."""
    return "".join(part.capitalize() for part in key.partition("/")[2].split("-"))


def _plain(text: str) -> str:
    """For a line that is no list of words: one line, no specifier, no continuation."""
    return one_line(text).replace("%", "%%").rstrip("\\")


EXPORT = SystemdExport()
