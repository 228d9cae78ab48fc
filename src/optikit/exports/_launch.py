"""A bundle's argument list with its four places open: interpreter, model, address, port.

The words come from ``serving.yaml`` and go out as they came in. What an export may set is where the
model lies and where the server listens; nothing that was measured.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from optikit.core.redact import secrets_in
from optikit.errors import BadInput, UnsafeInput
from optikit.spec.bundle import Bundle

__all__ = ["KEY_VARIABLE", "Launch", "image_of", "launch_of", "name_of"]

KEY_VARIABLE = "VLLM_API_KEY"
"""Where the server finds the key that clients must present; its value is in no export."""
_ENGINE, _MODULE = "vllm", "vllm.entrypoints.openai.api_server"
_HEAD = (
    "-m",
    _MODULE,
    "--model",
    None,
    "--served-model-name",
    None,
    "--host",
    None,
    "--port",
    None,
)
"""After the interpreter; ``engines/vllm.py`` writes it. None: a value."""
_GPU_IMAGE = "vllm/vllm-openai"
_CPU_IMAGE = "public.ecr.aws/q9t5s3a7/vllm-cpu-release-repo"
_RELEASE = re.compile(r"(\d+(?:\.\d+)+(?:\.post\d+)?)(?:\+[\w.]+)?")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_LONGEST_NAME = 40


@dataclass(frozen=True)
class Launch:
    """The command of a server."""

    recorded: str
    """Interpreter that was measured."""
    served_name: str
    certified: tuple[str, ...]
    """Everything behind the port: what was measured."""

    def program(self, python: str) -> list[str]:
        """What is started: interpreter and module."""
        return [python, "-m", _MODULE]

    def arguments(self, model: str, host: str, port: int) -> list[str]:
        """What it is given."""
        return [
            *("--model", model, "--served-model-name", self.served_name),
            *("--host", host, "--port", str(port)),
            *self.certified,
        ]

    def argv(self, python: str, model: str, host: str, port: int) -> list[str]:
        """The whole command."""
        return self.program(python) + self.arguments(model, host, port)


def launch_of(bundle: Bundle) -> Launch:
    """The bundle's command, taken apart.

    Raises:
        BadInput: it is not a vLLM server's as OptiKIT starts one.
        UnsafeInput: its environment holds a secret.
    """
    facts = bundle.facts
    if facts.engine.name != _ENGINE:
        raise BadInput(
            f"the bundle is served by {facts.engine.name}; exports know {_ENGINE}'s command alone. "
            f"{bundle.folder}/serve.sh serves it"
        )
    words = facts.arguments
    head = words[1 : len(_HEAD) + 1]
    fits = len(head) == len(_HEAD) and all(
        known in (None, word) for known, word in zip(_HEAD, head, strict=True)
    )
    every = [*words, *facts.environment.values()]
    named = all(_VARIABLE.fullmatch(name) for name in facts.environment)
    if not fits or not named or any("\0" in word for word in every):
        raise BadInput(
            f"command or environment in {bundle.folder}/serving.yaml are not those of a server "
            "that OptiKIT starts; take the bundle as it was published"
        )
    secrets = sorted(secrets_in(facts.environment).values())
    if secrets:
        raise UnsafeInput(
            f"{bundle.folder}/serving.yaml holds a value of {', '.join(secrets)}, and an export "
            "names secrets without telling them; take it out of there"
        )
    return Launch(words[0], head[5], tuple(words[len(_HEAD) + 1 :]))


def image_of(bundle: Bundle) -> str:
    """The image that vLLM publishes for the version that was measured.

    Raises:
        BadInput: the version is no release.
    """
    version = bundle.facts.engine.version
    found = _RELEASE.fullmatch(version)
    if found is None:
        raise BadInput(
            f"vLLM {version} is no release, so that no public image has it: name one with --image"
        )
    gpu = bundle.facts.devices.sku.facts.kind == "gpu"
    return f"{_GPU_IMAGE if gpu else _CPU_IMAGE}:v{found[1]}"


def name_of(launch: Launch) -> str:
    """The served model's name as Kubernetes takes one for a service.

    >>> name_of(Launch("python", "Qwen-2.5_7B-int_w8a8", ()))
    'qwen-2-5-7b-int-w8a8'
    """
    slug = re.sub(r"[^a-z0-9]+", "-", launch.served_name.lower()).strip("-")
    slug = slug if slug[:1].isalpha() else f"m-{slug}"
    return slug[:_LONGEST_NAME].strip("-")
