from __future__ import annotations

import hashlib
import json

from optikit.spec.serving import ServingConfig


def test_equal_configs_have_equal_digests_and_differences_are_named() -> None:
    one = ServingConfig(max_model_len=1024)
    two = ServingConfig(max_model_len=1024, max_num_seqs=64)
    assert one.digest == ServingConfig(max_model_len=1024).digest != two.digest
    assert one.diff(two) == {"max_num_seqs": (256, 64)}
    assert len({one, two, ServingConfig(max_model_len=1024)}) == 2


def test_a_digest_of_before_the_model_could_bring_code_still_holds() -> None:
    old = ServingConfig(max_model_len=1024)
    content = old.model_dump(mode="json")
    del content["trust_remote_code"]
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    assert old.digest == hashlib.sha256(text.encode()).hexdigest()[:12]
    trusting = ServingConfig(max_model_len=1024, trust_remote_code=True)
    assert trusting.digest != old.digest
    assert trusting.diff(old) == {"trust_remote_code": (True, False)}
