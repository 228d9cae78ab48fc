from __future__ import annotations

import pytest

from optikit.spec.sku import ResourceSKU


@pytest.mark.parametrize("sku", list(ResourceSKU))
def test_every_sku_has_facts_with_a_source(sku: ResourceSKU) -> None:
    facts = sku.facts
    assert facts.memory_bytes > 0
    assert facts.bandwidth_bytes_per_s > 0
    assert facts.source
    assert facts.kind == ("cpu" if sku is ResourceSKU.CPU_2 else "gpu")
    assert str(facts.devices) == ("1" if sku is ResourceSKU.CPU_2 else sku.value.split("_")[1])


def test_the_table_has_what_the_talk_runs_on() -> None:
    kinds = {sku.value.split("_")[0] for sku in ResourceSKU}
    assert kinds == {"CPU", "A100", "H100", "H200", "L40S"}
    for kind in ("A100", "H100", "H200"):
        assert {f"{kind}_{n}" for n in (1, 2, 4, 8)} <= set(ResourceSKU.__members__)
