"""A suggested job as a YAML file that a person goes on with: every value with the reason for it."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

from optikit.core.suggest import QUICK, Suggestion
from optikit.spec.plan import Plan

__all__ = ["quoted", "spec_text"]

_WIDTH = 98


def spec_text(suggestion: Suggestion, found: str, file: str, version: str) -> str:
    """The file's text; reading it gives ``suggestion.job`` again.

    Args:
        found: where the model's shape was found, and what follows from that for the engine.
        file: name of the file, for the commands in its head.
        version: OptiKIT's.
    """
    return "\n".join(_lines(suggestion, found, file, version)) + "\n"


def quoted(text: str) -> str:
    """A text as a YAML scalar in double quotes, on one line whatever is in it.

    >>> print(quoted('a "b" \\n: #'))
    "a \\"b\\" \\x0a: #"
    """
    return '"' + "".join(map(_escaped, text)) + '"'


def _escaped(char: str) -> str:
    if char in '"\\':
        return "\\" + char
    if char.isprintable():
        return char
    code = ord(char)
    return (
        f"\\x{code:02x}"
        if code < 0x100
        else f"\\u{code:04x}"
        if code < 0x10000
        else (f"\\U{code:08x}")
    )


def _comment(text: str, indent: int = 0) -> Iterator[str]:
    """Lines of a comment; line ends within the text end none of them."""
    start = " " * indent + "# "
    yield from textwrap.wrap(
        " ".join(text.split()),
        _WIDTH,
        initial_indent=start,
        subsequent_indent=start,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _lines(suggestion: Suggestion, found: str, file: str, version: str) -> Iterator[str]:
    job, plan, why = suggestion.job, suggestion.plan, suggestion.why
    yield from _comment(
        f"A first job for {job.model.name}, suggested by `optikit init` (OptiKIT {version}). "
        "Change what you know better. What is PREDICTED comes from a simulation, never measured."
    )
    yield f"#   optikit plan {file} --predict     what would run, and what is expected of it"
    yield f"#   optikit submit {file}             run it"
    yield from _comment("Every key and its default: docs/reference/job-spec.md")
    yield f"flow: {job.flow}"
    yield ""
    yield from _comment(f"{_shape(plan)}. {found}")
    yield "model:"
    yield f"  name: {quoted(job.model.name)}"
    if job.model.uri is None:
        yield f"  version: {quoted(job.model.version)}"
    else:
        yield f"  uri: {quoted(job.model.uri)}"
    if job.engine.name != "vllm":
        yield f"engine: {job.engine.name}"
    if job.dataset is not None:
        yield "dataset:"
        yield f"  path: {quoted(job.dataset.path)}"
    yield ""
    yield "flow_params:"
    yield from _comment(why["recipe"], 2)
    if plan.flow.compresses:
        yield f"  recipe: {job.flow_params.recipe[0]}"
    if "calibration_samples" in why:
        yield from _comment(why["calibration_samples"], 2)
        yield f"  calibration_samples: {job.flow_params.calibration_samples}"
    yield from _comment(why["num_trials"], 2)
    yield f"  num_trials: {job.flow_params.num_trials}"
    if plan.flow.compresses:
        yield from _comment(
            "true: also measures the uncompressed and the untuned model, whose gains then show "
            "(four corners); about twice the trials",
            2,
        )
        yield f"  ablation: {str(job.flow_params.ablation).lower()}"
    yield ""
    yield "compute:"
    yield from _comment(why["sku"], 2)
    yield f"  sku: {job.compute.sku.value}"
    yield ""
    yield "workload:"
    yield from _comment(why["workload"], 2)
    yield f"  prompt_tokens: {job.workload.prompt_tokens.high}"
    yield f"  output_tokens: {job.workload.output_tokens.high}"
    yield ""
    yield from _comment(why["slo"])
    yield "slo:"
    yield from (f"  - {bound}" for bound in job.slo.bounds)
    if "max_search_s" in why:
        yield ""
        yield "method:"
        yield from _comment(why["max_search_s"], 2)
        yield f"  max_search_s: {job.method.max_search_s:g}"
    if "quick" in why:
        yield from _quick(suggestion)


def _quick(suggestion: Suggestion) -> Iterator[str]:
    """What a first try says besides."""
    yield ""
    yield from _comment(suggestion.why["quick"])
    for key, values in QUICK.items():
        if key in suggestion.job.model_fields_set:
            yield f"{key}:"
            yield from (f"  {name}: {value}" for name, value in values.items())


def _shape(plan: Plan) -> str:
    shape = plan.shape
    return (
        f"{shape.parameters / 1e9:.3g} B parameters: {shape.layers} layers, "
        f"{shape.heads}/{shape.kv_heads} heads, context {shape.max_context}; about "
        f"{plan.disk_bytes / 1e9:.2g} GB of disk for the whole job"
    )
