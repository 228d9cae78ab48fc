from __future__ import annotations

from optikit.spec.serving import ServingConfig


def test_equal_configs_have_equal_digests_and_differences_are_named() -> None:
    one = ServingConfig(max_model_len=1024)
    two = ServingConfig(max_model_len=1024, max_num_seqs=64)
    assert one.digest == ServingConfig(max_model_len=1024).digest != two.digest
    assert one.diff(two) == {"max_num_seqs": (256, 64)}
    assert len({one, two, ServingConfig(max_model_len=1024)}) == 2
