"""Secrets are planted in the environment, and looked for wherever a job leaves something."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from optikit.adapters.http_get import get_json
from optikit.adapters.process import members
from optikit.engines.vllm import ENGINE
from optikit.spec.endpoint import ProcessGroup
from optikit.spec.serving import ServingConfig
from tests.models import tiny_llama
from tests.running import OPTIKIT, ROOT

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

PLANTED = {
    name: f"planted-{name.lower()}-{number * 7919:08d}"
    for number, name in enumerate(
        (
            *("OPTIKIT_TOKEN", "OPENAI_API_KEY", "HF_TOKEN", "PGPASSWORD"),
            *("AWS_SECRET_ACCESS_KEY", "MLFLOW_TRACKING_PASSWORD", "SOME_CREDENTIALS"),
        ),
        1,
    )
}
SPEC = {
    "flow": "quantize_and_tune",
    "model": {"name": "qwen-2.5-7b"},
    "engine": "simulated",
    "flow_params": {"recipe": "fp8_dynamic", "num_trials": 2},
    "compute": {"sku": "H100_1"},
    "workload": {"prompt_tokens": 64, "output_tokens": 8},
    "method": {"name": "doubling", "requests_per_probe": 20, "max_probes": 3},
    "tuner": {"finalists": 0},
}
LEAK = """
import atexit, os, sys
def tell():
    print("out", os.environ["HF_TOKEN"])
    print("error", os.environ["PGPASSWORD"], file=sys.stderr)
atexit.register(tell)
if os.environ.get("LEAK_IN_A_STAGE"):
    import optikit.engines.simulated as engine
    from optikit.errors import EngineDied
    def serve(self, *args, **kwargs):
        print("worker", os.environ["HF_TOKEN"])
        raise EngineDied("no answer with the key " + os.environ["OPENAI_API_KEY"])
    engine.Simulated.serve = serve
"""
"""Run by every Python of the job as it starts: what a careless library might do."""


def submit(tmp_path: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    (tmp_path / "careless").mkdir()
    (tmp_path / "careless" / "sitecustomize.py").write_text(LEAK)
    (tmp_path / "job.yaml").write_text(yaml.safe_dump(SPEC))
    paths = [str(tmp_path / "careless"), str(ROOT / "src")]
    return subprocess.run(
        [OPTIKIT, "submit", str(tmp_path / "job.yaml"), "--json", "--pool", "process"],
        env={
            **os.environ,
            **PLANTED,
            **environment,
            "OPTIKIT_HOME": str(tmp_path / "home"),
            "PYTHONPATH": os.pathsep.join(paths),
        },
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=280,
    )


def files_with_secrets(folder: Path) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for path in folder.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            names = [name for name, value in PLANTED.items() if value.encode() in content]
            if names:
                found[path.relative_to(folder).as_posix()] = names
    return found


def test_a_whole_job_leaves_no_secret(tmp_path: Path) -> None:
    done = submit(tmp_path)
    assert done.returncode in (0, 4), done.stderr
    home = tmp_path / "home"
    assert len(list(home.rglob("*"))) > 20
    assert files_with_secrets(home) == {}
    logs = "".join(path.read_text() for path in home.rglob("driver.log"))
    assert "out [redacted]" in logs  # it was printed, and taken out
    assert "error [redacted]" in logs


def test_an_error_that_repeats_a_secret_is_kept_without_it(tmp_path: Path) -> None:
    done = submit(tmp_path, LEAK_IN_A_STAGE="1")
    home = tmp_path / "home"
    assert files_with_secrets(home) == {}
    journal = "".join(path.read_text() for path in home.rglob("journal.jsonl"))
    assert "no answer with the key [redacted]" in journal, done.stderr
    logs = "".join(path.read_text() for path in home.rglob("driver.log"))
    assert "worker [redacted]" in logs


def test_a_spec_that_holds_a_secret_is_refused(tmp_path: Path) -> None:
    spec = {**SPEC, "dataset": {"path": f"/data/{PLANTED['HF_TOKEN']}"}}
    (tmp_path / "job.yaml").write_text(json.dumps(spec))
    done = subprocess.run(
        [OPTIKIT, "submit", str(tmp_path / "job.yaml")],
        env={**os.environ, **PLANTED, "OPTIKIT_HOME": str(tmp_path / "home")},
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 2
    assert "the job spec holds the value of HF_TOKEN" in done.stderr
    assert PLANTED["HF_TOKEN"] not in done.stdout + done.stderr
    assert not list((tmp_path / "home").rglob("job.json"))


def test_a_real_server_sees_none_and_its_key_is_nowhere(
    tmp_path: Path, groups: list[ProcessGroup], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in PLANTED.items():
        monkeypatch.setenv(name, value)
    model = tiny_llama(ROOT / ".cache" / "models" / "tiny-llama")
    serving = ServingConfig(max_model_len=64, max_num_seqs=4, dtype="float32", enforce_eager=True)
    log = tmp_path / "engine.log"
    with ENGINE.serve(
        model, serving, "cpu", vocab=512, log=log, start_timeout_s=240.0, on_start=groups.append
    ) as server:
        key = str(server.endpoint.api_key)
        assert len(key) >= 32
        told = log.open("a")
        told.write(f"a careless line with {key}\n")
        told.close()
        assert key not in server.told()
        pids = members(groups[-1])
        assert len(pids) >= 3
        for pid in pids:
            words = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
            held = Path(f"/proc/{pid}/environ").read_bytes().decode(errors="replace")
            assert key not in words
            assert [name for name, value in PLANTED.items() if value in words + held] == []
        for path in ("/health", "/metrics", "/invocations", "/v1/models"):
            assert get_json(server.endpoint.base_url + path).status == 401
        assert get_json(server.endpoint.base_url + "/health", key).status == 200
        listening = subprocess.run(
            [sys.executable, "-c", _LISTENING, *map(str, pids)], capture_output=True, text=True
        ).stdout.split()
        assert listening
        assert set(listening) == {"127.0.0.1"}
    assert key not in log.read_text()
    assert "a careless line with ***" in log.read_text()


_LISTENING = """
import os, socket, struct, sys
sockets = set()
for pid in sys.argv[1:]:
    for name in os.listdir(f"/proc/{pid}/fd"):
        try:
            target = os.readlink(f"/proc/{pid}/fd/{name}")
        except OSError:
            continue
        if target.startswith("socket:["):
            sockets.add(target[8:-1])
for table in ("tcp", "tcp6"):
    for line in open(f"/proc/net/{table}").readlines()[1:]:
        fields = line.split()
        if fields[3] == "0A" and fields[9] in sockets:
            raw = fields[1].split(":")[0]
            if table == "tcp":
                print(socket.inet_ntoa(struct.pack("<I", int(raw, 16))))
            else:
                print(raw)
"""
"""Addresses on which these processes listen, from /proc."""
