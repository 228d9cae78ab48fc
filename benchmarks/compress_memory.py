"""Peak memory of compressing a model that is larger than the memory it may use.

Claim: with ``memory_bytes`` below the size of the weights, a recipe keeps its process below that
bound, calibration, rounding and save included, and takes about as long. The model is a random Llama
in bfloat16, made in a temporary folder; each compression runs in a process of its own. The peak is
what the kernel counted for that process from start to end: ``ru_maxrss``, which includes pages of
the model's files that are mapped (``VmHWM`` of /proc is the same counter), and beside it the
largest ``RssAnon`` seen every 50 ms, the part that the kernel could not have dropped.

    .venv/bin/python benchmarks/compress_memory.py [--quick]

The full run takes about half an hour on two cores and 15 GB of disk. The last line is one JSON
object: benchmark, recipe, budget_bytes, weights_bytes, peak_bytes, anonymous_peak_bytes,
unbounded_peak_bytes, rows.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
HEADS_WIDTH = 64
POLL_S = 0.05
CHILD = """
import json, sys
from pathlib import Path
from optikit.recipes import RECIPES
model, out, name, bound, samples = sys.argv[1:]
recipe = RECIPES.load(name)
lines = (Path("examples/data/calibration/everyday.jsonl")).read_text().splitlines()
texts = [json.loads(line)["text"] for line in lines[: int(samples)]]
recipe.compress(
    Path(model),
    Path(out),
    texts if recipe.facts.needs_calibration else [],
    max_tokens=256,
    seed=0,
    memory_bytes=int(bound) or None,
)
"""


def make_model(folder: Path, *, hidden: int, layers: int, intermediate: int, vocab: int) -> int:
    """A random Llama in bfloat16, one safetensors file a layer; bytes of its weights."""
    import torch
    from safetensors.torch import save_file

    sys.path.insert(0, str(ROOT))
    from tests.models import tiny_llama

    tiny_llama(folder)  # for the tokenizer
    for name in ("model.safetensors", ".complete-2"):
        (folder / name).unlink(missing_ok=True)
    heads, kv = hidden // HEADS_WIDTH, hidden // 4
    config = json.loads((folder / "config.json").read_text()) | {
        "hidden_size": hidden,
        "intermediate_size": intermediate,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": heads // 4,
        "head_dim": HEADS_WIDTH,
        "vocab_size": vocab,
        "torch_dtype": "bfloat16",
    }
    (folder / "config.json").write_text(json.dumps(config))
    noise = torch.randn(2**22, generator=torch.Generator().manual_seed(0)).to(torch.bfloat16)

    def weight(rows: int, columns: int) -> torch.Tensor:
        repeats = -(-rows * columns // noise.numel())
        flat: torch.Tensor = noise.repeat(repeats)[: rows * columns]
        return flat.reshape(rows, columns).mul(columns**-0.5)

    def norm() -> torch.Tensor:
        return torch.ones(hidden, dtype=torch.bfloat16)

    places: dict[str, str] = {}
    total = 0

    def write(number: int, tensors: dict[str, torch.Tensor]) -> None:
        nonlocal total
        file = f"model-{number:05d}.safetensors"
        save_file(tensors, folder / file, metadata={"format": "pt"})
        places.update(dict.fromkeys(tensors, file))
        total += sum(tensor.nbytes for tensor in tensors.values())

    ends = {"model.embed_tokens.weight": weight(vocab, hidden), "model.norm.weight": norm()}
    write(0, {**ends, "lm_head.weight": weight(vocab, hidden)})
    for layer in range(layers):
        block = f"model.layers.{layer}"
        write(
            layer + 1,
            {
                f"{block}.input_layernorm.weight": norm(),
                f"{block}.post_attention_layernorm.weight": norm(),
                f"{block}.self_attn.q_proj.weight": weight(hidden, hidden),
                f"{block}.self_attn.k_proj.weight": weight(kv, hidden),
                f"{block}.self_attn.v_proj.weight": weight(kv, hidden),
                f"{block}.self_attn.o_proj.weight": weight(hidden, hidden),
                f"{block}.mlp.gate_proj.weight": weight(intermediate, hidden),
                f"{block}.mlp.up_proj.weight": weight(intermediate, hidden),
                f"{block}.mlp.down_proj.weight": weight(hidden, intermediate),
            },
        )
    index = {"metadata": {"total_size": total}, "weight_map": places}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return total


def compress(model: Path, out: Path, recipe: str, bound: int, samples: int) -> dict[str, Any]:
    """One compression in a fresh process; wall seconds and its two peaks in bytes."""
    began = time.monotonic()
    with tempfile.TemporaryFile() as log:
        child = subprocess.Popen(
            [sys.executable, "-c", CHILD, str(model), str(out), recipe, str(bound), str(samples)],
            cwd=ROOT,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        anonymous = 0
        while True:
            pid, status, usage = os.wait4(child.pid, os.WNOHANG)
            if pid:
                break
            anonymous = max(anonymous, _anonymous(child.pid))
            time.sleep(POLL_S)
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode:
            log.seek(0)
            raise SystemExit(log.read().decode(errors="replace")[-3000:])
    return {
        "recipe": recipe,
        "budget_bytes": bound or None,
        "peak_bytes": usage.ru_maxrss * 1024,
        "anonymous_peak_bytes": anonymous,
        "wall_s": round(time.monotonic() - began, 1),
        "checkpoint_bytes": sum(path.stat().st_size for path in out.glob("*.safetensors")),
    }


def _anonymous(pid: int) -> int:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    found = re.search(r"RssAnon:\s+(\d+) kB", status)
    return int(found[1]) * 1024 if found else 0


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a smaller model, without GPTQ")
    quick = parser.parse_args().quick
    layers, recipe, samples = (10, "fp8_static", 2) if quick else (32, "int_w8a8", 16)
    budget = 1_000_000_000 if quick else 1_800_000_000
    rows = []
    with tempfile.TemporaryDirectory(prefix="optikit-memory-") as folder:
        model = Path(folder) / "model"
        weights = make_model(model, hidden=2048, layers=layers, intermediate=5632, vocab=32_000)
        print(f"weights {weights / 1e9:.2f} GB in bfloat16, budget {budget / 1e9:.2f} GB")
        print(f"{'recipe':<12} {'budget GB':>9} {'peak GB':>8} {'anon GB':>8} {'wall s':>8}")
        for number, bound in enumerate((0, budget)):
            out = Path(folder) / f"out-{number}"
            row = compress(model, out, recipe, bound, samples)
            asked = f"{bound / 1e9:.2f}" if bound else "none"
            print(
                f"{recipe:<12} {asked:>9} {row['peak_bytes'] / 1e9:>8.2f} "
                f"{row['anonymous_peak_bytes'] / 1e9:>8.2f} {row['wall_s']:>8.1f}",
                flush=True,
            )
            rows.append(row)
    free, bounded = rows
    print(
        json.dumps(
            {
                "benchmark": "compress_memory",
                "recipe": recipe,
                "budget_bytes": budget,
                "weights_bytes": weights,
                "peak_bytes": bounded["peak_bytes"],
                "anonymous_peak_bytes": bounded["anonymous_peak_bytes"],
                "unbounded_peak_bytes": free["peak_bytes"],
                "rows": rows,
            }
        )
    )


if __name__ == "__main__":
    main()
