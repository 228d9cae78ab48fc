"""Resource SKUs: a name a team can ask for, and the facts behind it.

Memory is what the driver reports for the whole device (the part an engine may use is a fraction
of it). FLOP/s are the vendors' dense peaks, without sparsity.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

from optikit.spec.base import Spec

__all__ = ["DeviceKind", "ResourceSKU", "SkuFacts"]

MIB = 1024**2
GIB = 1024**3
DeviceKind = Literal["cpu", "gpu"]


class SkuFacts(Spec):
    """Hardware behind a SKU; per-device figures unless the name says otherwise."""

    kind: DeviceKind
    accelerator: str | None
    """Ray's ``accelerator_type`` of the node, None on a CPU SKU."""
    devices: int
    """Devices that tensor parallelism may use; a CPU SKU counts as one."""
    memory_bytes: int
    bandwidth_bytes_per_s: float
    flops_per_s: dict[str, float]
    """Dense peak by compute dtype: fp32, bf16, fp8, int8 (absent where the device lacks it)."""
    cpus: int
    """CPU cores of the node that belong to the SKU."""
    source: str


_GPUS: dict[str, tuple[int, float, dict[str, float], str]] = {
    "A100": (
        81_920 * MIB,
        2.039e12,
        {"fp32": 19.5e12, "bf16": 312e12, "int8": 624e12},
        "NVIDIA A100 80GB SXM datasheet (June 2021), dense",
    ),
    "H100": (
        81_559 * MIB,
        3.35e12,
        {"fp32": 67e12, "bf16": 989e12, "fp8": 1979e12, "int8": 1979e12},
        "NVIDIA H100 SXM datasheet (2023), dense",
    ),
    "H200": (
        143_771 * MIB,
        4.8e12,
        {"fp32": 67e12, "bf16": 989e12, "fp8": 1979e12, "int8": 1979e12},
        "NVIDIA H200 SXM datasheet (2024), dense",
    ),
    "L40S": (
        46_068 * MIB,
        0.864e12,
        {"fp32": 91.6e12, "bf16": 362e12, "fp8": 733e12, "int8": 733e12},
        "NVIDIA L40S datasheet (2023), dense",
    ),
}
_CPUS_PER_GPU = 12


class ResourceSKU(StrEnum):
    """What a job may ask for: device kind and count on one node."""

    CPU_2 = "CPU_2"
    A100_1 = "A100_1"
    A100_2 = "A100_2"
    A100_4 = "A100_4"
    A100_8 = "A100_8"
    H100_1 = "H100_1"
    H100_2 = "H100_2"
    H100_4 = "H100_4"
    H100_8 = "H100_8"
    H200_1 = "H200_1"
    H200_2 = "H200_2"
    H200_4 = "H200_4"
    H200_8 = "H200_8"
    L40S_1 = "L40S_1"

    @property
    def facts(self) -> SkuFacts:
        """The hardware behind the name.

        >>> ResourceSKU.H100_8.facts.devices
        8
        """
        if self is ResourceSKU.CPU_2:
            return SkuFacts(
                kind="cpu",
                accelerator=None,
                devices=1,
                memory_bytes=24 * GIB,
                bandwidth_bytes_per_s=CPU_2_BANDWIDTH,
                flops_per_s={"fp32": CPU_2_FP32_FLOPS},
                cpus=2,
                source="two x86-64 cores, measured by benchmarks/cpu_facts.py",
            )
        accelerator, count = self.value.rsplit("_", 1)
        memory, bandwidth, flops, source = _GPUS[accelerator]
        return SkuFacts(
            kind="gpu",
            accelerator=accelerator,
            devices=int(count),
            memory_bytes=memory,
            bandwidth_bytes_per_s=bandwidth,
            flops_per_s=flops,
            cpus=_CPUS_PER_GPU * int(count),
            source=source,
        )


# What benchmarks/cpu_facts.py printed on the reference machine on 2026-11-24 (rounded down).
CPU_2_BANDWIDTH = 13e9
CPU_2_FP32_FLOPS = 180e9
