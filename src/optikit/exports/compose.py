"""A compose file for one machine with containers."""

from __future__ import annotations

from typing import Any, Final, Literal

from optikit.exports._launch import KEY_VARIABLE, image_of, launch_of, name_of
from optikit.exports._place import needs_of, path_here
from optikit.exports._pod import EVERYWHERE, MODEL, as_yaml
from optikit.exports._proof import comment, stated
from optikit.exports._quote import dollars
from optikit.exports.base import ON_MACHINE, DeploySettings
from optikit.spec.bundle import Bundle

__all__ = ["EXPORT"]

_LOOPBACK = "127.0.0.1"
_ASK = (
    "import urllib.request as r; "
    "r.build_opener(r.ProxyHandler({{}})).open('http://127.0.0.1:{port}/health', timeout=5)"
)


class ComposeExport:
    """One service, reached on loopback unless ``--host`` says otherwise."""

    name = "compose"
    of: Final[Literal["bundle"]] = "bundle"
    reads = ON_MACHINE | {"name", "image", "startup_s"}

    def render(self, bundle: Bundle, settings: DeploySettings) -> str:
        """The file; the key of clients comes from the shell or from ``.env``."""
        launch, needs = launch_of(bundle), needs_of(bundle)
        name, python = settings.name or name_of(launch), settings.python or "python3"
        words = launch.arguments(MODEL, EVERYWHERE, settings.port)
        environment: dict[str, str | None] = {
            name: dollars(value) for name, value in bundle.facts.environment.items()
        }
        environment[KEY_VARIABLE] = None  # as it is where compose runs; unset there, unset here
        limits = {"cpus": str(needs.cpus), "memory": f"{needs.memory_gib}g"}
        reserved: dict[str, Any] = {}
        if needs.gpus:
            device = {"driver": "nvidia", "count": needs.gpus, "capabilities": ["gpu"]}
            reserved = {"reservations": {"devices": [device]}}
            del limits["cpus"]  # would be seen as latency
        host = settings.host or _LOOPBACK
        published = f"[{host}]" if ":" in host else host
        service: dict[str, Any] = {
            "image": settings.image or image_of(bundle),
            "entrypoint": [dollars(word) for word in launch.program(python)],
            "command": [dollars(word) for word in words],
            "environment": environment,
            "ports": [f"{published}:{settings.port}:{settings.port}"],
            "volumes": [
                {
                    "type": "bind",
                    "source": dollars(path_here(bundle, settings)),
                    "target": MODEL,
                    "read_only": True,
                    "bind": {"create_host_path": False},
                }
            ],
            "shm_size": f"{needs.shared_gib}g",
            "deploy": {"resources": {"limits": limits, **reserved}},
            "healthcheck": {
                "test": ["CMD", dollars(python), "-c", _ASK.format(port=settings.port)],
                "interval": "10s",
                "timeout": "10s",
                "retries": 6,
                "start_period": f"{settings.startup_s}s",
            },
            "security_opt": ["no-new-privileges:true"],
            "cap_drop": ["ALL"],
            "restart": "unless-stopped",
            "stop_grace_period": "120s",
            "labels": {key: dollars(value) for key, value in stated(bundle).items()},
        }
        head = comment(
            bundle,
            f"Serves {launch.served_name}",
            f"Clients must present a key where {KEY_VARIABLE} is set in the shell or in .env.",
        )
        return head + as_yaml({"name": name, "services": {"server": service}})


EXPORT = ComposeExport()
