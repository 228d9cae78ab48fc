from __future__ import annotations

import pytest

from optikit.core.skus import sku_order
from optikit.spec.sku import ResourceSKU

H100 = "NVIDIA H100 80GB HBM3, 81559 MiB, 550.54.15"


def names(*gpus: str, asked: ResourceSKU | None = None, simulated: bool = False) -> list[str]:
    return [sku.value for sku in sku_order(asked, simulated, gpus).skus]


def test_a_machine_without_gpus_is_a_cpu_first() -> None:
    order = sku_order(None, simulated=False)
    assert order.skus[0] is ResourceSKU.CPU_2
    assert order.here == {ResourceSKU.CPU_2}
    assert set(order.skus) == set(ResourceSKU)
    assert "no GPU" in order.why(ResourceSKU.CPU_2)
    assert "--address" in order.why(ResourceSKU.H100_1)


def test_on_paper_no_cpu_is_suggested_and_small_ones_come_first() -> None:
    order = sku_order(None, simulated=True)
    assert ResourceSKU.CPU_2 not in order.skus
    assert len(order.skus) == len(ResourceSKU) - 1
    sizes = [(s.facts.devices, s.facts.memory_bytes) for s in order.skus]
    assert sizes == sorted(sizes)
    assert names(H100, simulated=True) == [sku.value for sku in order.skus], "no device is needed"


def test_this_machines_gpus_come_first_as_many_as_there_are() -> None:
    assert names(H100, H100)[:2] == ["H100_1", "H100_2"]
    order = sku_order(None, False, (H100, H100))
    assert order.here == {ResourceSKU.H100_1, ResourceSKU.H100_2}
    assert "NVIDIA H100" in order.why(ResourceSKU.H100_2)
    assert ResourceSKU.CPU_2 not in order.skus
    assert len(order.skus) == len(ResourceSKU) - 1


@pytest.mark.parametrize(
    "gpu",
    [
        "NVIDIA A100-SXM4-40GB, 40960 MiB, 550",  # the SKU's has 80 GB
        "NVIDIA GeForce RTX 4090, 24564 MiB, 550",
        "NVIDIA L40, 46068 MiB, 550",
        "nvidia-smi did not answer: timed out",
    ],
)
def test_a_gpu_that_no_sku_names_is_none_of_them(gpu: str) -> None:
    order = sku_order(None, False, (gpu,))
    assert order.here == frozenset()
    assert gpu.partition(",")[0][:20] in order.why(ResourceSKU.L40S_1)


def test_the_users_word_is_the_only_one() -> None:
    assert names(H100, asked=ResourceSKU.H200_8) == ["H200_8"]
    assert names(asked=ResourceSKU.H200_8, simulated=True) == ["H200_8"]
