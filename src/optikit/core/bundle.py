"""The texts of a bundle: the script that serves it, what it was served with, what it says."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from optikit.spec.plan import Plan
from optikit.spec.quality import QualityVerdict
from optikit.spec.record import Certificate
from optikit.spec.serving import ServingConfig
from optikit.spec.simulated import marked

__all__ = ["HOST", "MODEL", "PORT", "PROOF", "readable", "readme", "serve_script", "serving_facts"]

MODEL, HOST, PORT = "/optikit/model", "optikit.host", "optikit-port"
"""What stands for the model folder, the address and the port in a command to be filled in."""
PROOF = "certificate.json"
"""Name of the certificate in a bundle."""
_SHELL = {MODEL: '"$here/model"', HOST: '"$HOST"', PORT: '"$PORT"'}
_PLAIN = {MODEL: "model", HOST: "127.0.0.1", PORT: "8000"}
_ANY = re.compile("|".join(map(re.escape, _SHELL)))


def readable(command: Sequence[str]) -> tuple[str, ...]:
    """The command with the bundle's defaults, relative to its folder.

    >>> readable(["python", "--model", MODEL, f"--port={PORT}"])
    ('python', '--model', 'model', '--port=8000')
    """
    return tuple(_ANY.sub(lambda found: _PLAIN[found[0]], word) for word in command)


def shell_word(word: str) -> str:
    """A word of a command for bash: quoted, what varies filled in by the script.

    >>> print(shell_word(f"--listen={HOST}:{PORT}"), shell_word("it's"))
    --listen="$HOST":"$PORT" 'it'"'"'s'
    """
    fixed = _ANY.split(word)
    varying = [_SHELL[found] for found in _ANY.findall(word)]
    quoted = [shlex.quote(piece) if piece else "" for piece in fixed]
    joined = "".join(a + b for a, b in zip(quoted, [*varying, ""], strict=True))
    return joined or "''"


def serve_script(
    command: Sequence[str],
    environment: Mapping[str, str],
    engine: str,
    title: str,
    simulated: bool = False,
) -> str:
    """A bash script that becomes the server; its own arguments are added to the command.

    Args:
        command: interpreter first, with MODEL, HOST and PORT where they belong.
        environment: variables that the server needs.
        engine: name and version, for messages.
        title: what is served, for a person.
        simulated: there is no model in the bundle; the script says so and serves none.
    """
    lacks = "no model folder beside this script ($here/model); keep the bundle together"
    if simulated:
        lacks = "this bundle is simulated and holds no model; put the checkpoint at $here/model"
        title = marked(f"{title}: the model is not in this bundle", simulated)
    engine, title = _one_line(engine), _one_line(title)
    exports = "".join(f"export {name}={shlex.quote(v)}\n" for name, v in environment.items())
    words = " \\\n    ".join(map(shell_word, command[1:]))
    return f"""#!/usr/bin/env bash
# Serves {title}
# Address: HOST (default 127.0.0.1) and PORT (default 8000).
# Interpreter: OPTIKIT_ENGINE_PYTHON, a Python that has {engine}.
set -euo pipefail

here="$(CDPATH='' cd -- "$(dirname -- "$(readlink -f -- "${{BASH_SOURCE[0]}}")")" && pwd -P)"
HOST="${{HOST:-127.0.0.1}}"
PORT="${{PORT:-8000}}"
recorded={shlex.quote(command[0])}
python="${{OPTIKIT_ENGINE_PYTHON:-$recorded}}"

refuse() {{
    echo "serve.sh: $*" >&2
    exit 2
}}

[[ "$PORT" =~ ^[1-9][0-9]{{0,4}}$ && "$PORT" -le 65535 ]] ||
    refuse "PORT is '$PORT'; give a number from 1 to 65535"
[[ -d "$here/model" ]] ||
    refuse "{lacks}"
found="$(command -v -- "$python")" ||
    refuse "no interpreter at '$python'; set OPTIKIT_ENGINE_PYTHON to a Python that has" \\
        {shlex.quote(engine)}
[[ "$found" == /* ]] || found="$PWD/$found"
if (exec 3<>"/dev/tcp/$HOST/$PORT") 2>/dev/null; then
    refuse "port $PORT of $HOST is in use; choose another one: PORT=... $0"
fi

{exports}cd -- "$here" # Python looks for modules here first: not in a stranger's folder
exec "$found" \\
    {words} "$@"
"""


def serving_facts(
    plan: Plan,
    serving: ServingConfig,
    command: Sequence[str],
    environment: Mapping[str, str],
    engine_version: str,
    certificate: Certificate | None,
) -> dict[str, Any]:
    """What ``serving.yaml`` says: the exact arguments and what they are meant for."""
    return {
        "engine": {"name": plan.job.engine.name, "version": engine_version},
        "arguments": list(readable(command)),
        "environment": dict(environment),
        "serving": serving.model_dump(mode="json"),
        "devices": {"sku": plan.job.compute.sku.value, "used": serving.devices},
        "workload": plan.job.workload.model_dump(mode="json"),
        **({"trace": plan.trace.facts} if plan.trace else {}),
        "slo": [str(bound) for bound in plan.job.slo.bounds],
        "rate_rps": certificate.rate_rps if certificate else None,
        "status": certificate.status if certificate else "not measured",
        **({"simulated": True} if plan.simulated else {}),
    }


def readme(
    plan: Plan,
    name: str,
    recipe: str,
    certificate: Certificate | None,
    quality: QualityVerdict | None,
    licence: str | None,
    origin: Sequence[tuple[str, str]] = (),
) -> str:
    """The bundle's README: verdict first, then figures, then how to serve it.

    Args:
        name: what the bundle is registered as.
        recipe: what was done to the model, ``none`` where nothing was.
        licence: the model's own.
        origin: what it was made of: what and value.
    """
    rows = [
        ("model", f"{plan.job.model.name} {plan.job.model.version}"),
        ("recipe", recipe),
        ("engine", plan.job.engine.name),
        ("hardware", plan.job.compute.sku.value),
        ("workload", str(plan.workload)),
        ("SLO", str(plan.job.slo)),
    ]
    if plan.job.model.trust_remote_code:
        rows.append(("code", "the model brings its own, which the server runs; read it first"))
    if certificate is not None:
        rows += _rate_rows(certificate)
    if quality is not None:
        rows.append(("quality", f"{quality.verdict}: {quality.reason}"))
        if quality.divergence is not None:
            rows.append(("divergence", str(quality.divergence)))
    unstated = (
        "no model in this bundle" if plan.simulated else "not stated by the model; ask who made it"
    )
    rows.append(("licence", licence or unstated))
    rows += origin
    table = "\n".join(f"| {key} | {_cell(value)} |" for key, value in rows)
    absent = (
        "The model is not in this bundle: put the checkpoint beside this file as `model/`.\n\n"
        if plan.simulated
        else ""
    )
    proof = "`certificate.json` names all that was measured, and on what. " if certificate else ""
    proof += "`provenance.json` says what it was made of. "
    return f"""# {name}

**{_verdict(certificate, plan.simulated)}**

| | |
|---|---|
{table}

## Serve it

{absent}```sh
./serve.sh                         # http://127.0.0.1:8000
HOST=0.0.0.0 PORT=9000 ./serve.sh  # another address
```

Whoever reaches the address can use the server: it asks for no key. It needs the engine's Python
environment; where that lies elsewhere on your machine, set `OPTIKIT_ENGINE_PYTHON`.
{proof}`serving.yaml` has the exact arguments; other arguments, another
engine version or other hardware give other figures.
"""


def _verdict(certificate: Certificate | None, simulated: bool) -> str:
    if simulated:
        return f"{marked('no server was measured.', simulated)} {_claim(certificate)}"
    return _claim(certificate)


def _claim(certificate: Certificate | None) -> str:
    if certificate is None:
        return "Not measured: no rate is claimed for it."
    if certificate.status == "negative":
        return f"NEGATIVE, do not deploy: {certificate.reason}"
    if certificate.rate_rps is None:
        return f"INCONCLUSIVE, no rate is claimed: {certificate.reason}"
    label = "Certified" if certificate.status == "certified" else "PRELIMINARY"
    return (
        f"{label}: {certificate.rate_rps:.3g} requests/s hold the SLO "
        f"({certificate.requests_at_rate} requests seen at that rate, {certificate.requests} in "
        "all)."
    )


def _rate_rows(certificate: Certificate) -> list[tuple[str, str]]:
    if certificate.rate_rps is None or certificate.rate_per_device_rps is None:
        return [("rate", f"none ({certificate.outcome})")]
    rate, per_device = certificate.rate_rps, certificate.rate_per_device_rps
    rows = [("rate", f"{rate:.3g} requests/s, {per_device:.3g} a device")]
    low, high = certificate.rate_low_rps, certificate.rate_high_rps
    if low is not None and high is not None:
        rows.append(("sustainable", f"{low:.3g} to {high:.3g} requests/s (95 % interval)"))
    measured = certificate.measurement.quantiles if certificate.measurement else ()
    return rows + [(f"p{q.percentile:g}({q.metric})", f"{q.value_ms:.4g} ms") for q in measured]


def _cell(value: str) -> str:
    return _one_line(value).replace("|", "\\|")


def _one_line(text: str) -> str:
    return " ".join(text.split())
