from __future__ import annotations

import pytest

from optikit.engines._sglang_flags import ALLOWED, FLAGS, arguments
from optikit.errors import BadInput
from optikit.spec.serving import Flag, ServingConfig

SERVING = ServingConfig(max_model_len=2048)


def with_flag(name: str, value: Flag) -> ServingConfig:
    return SERVING.model_copy(update={"extra_flags": ((name, value),)})


def test_every_field_has_its_flags() -> None:
    assert set(FLAGS) == set(ServingConfig.model_fields) - {"extra_flags"}
    assert not set(ALLOWED) & {flag for flags in FLAGS.values() for flag in flags}


def test_the_defaults() -> None:
    assert arguments(SERVING) == [
        *("--tp-size", "1", "--max-running-requests", "256"),
        *("--chunked-prefill-size", "8192", "--max-prefill-tokens", "8192"),
        *("--context-length", "2048", "--dtype", "auto", "--mem-fraction-static", "0.9"),
        *("--schedule-policy", "fcfs", "--disable-radix-cache"),
    ]


def test_everything_that_may_differ() -> None:
    serving = ServingConfig(
        tensor_parallel=4,
        data_parallel=2,
        max_num_seqs=64,
        max_num_batched_tokens=4096,
        max_model_len=512,
        dtype="bfloat16",
        enforce_eager=True,
        gpu_memory_utilization=0.8,
        enable_prefix_caching=True,
        kv_cache_dtype="fp8",
        block_size=64,
        scheduling_policy="priority",
        trust_remote_code=True,
        extra_flags=(
            ("enable_mixed_chunk", True),
            ("schedule-conservativeness", 0.5),
            ("--attention-backend", "fa3"),
            ("speculative-algorithm", "NGRAM"),
        ),
    )
    assert arguments(serving) == [
        *("--tp-size", "4", "--dp-size", "2", "--max-running-requests", "64"),
        *("--chunked-prefill-size", "4096", "--max-prefill-tokens", "4096"),
        *("--context-length", "512", "--dtype", "bfloat16", "--mem-fraction-static", "0.8"),
        *("--kv-cache-dtype", "fp8_e4m3", "--page-size", "64", "--schedule-policy", "fcfs"),
        *("--enable-priority-scheduling", "--schedule-low-priority-values-first"),
        *("--disable-cuda-graph", "--trust-remote-code"),
        *("--enable-mixed-chunk", "--schedule-conservativeness", "0.5"),
        *("--attention-backend", "fa3", "--speculative-algorithm", "NGRAM"),
    ]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"speculative_ngram": 4}, "speculative_ngram = 4.*Leave it out.*speculative-algorithm"),
        ({"block_size": 48}, "block_size 48 does not divide max_num_batched_tokens 8192"),
    ],
)
def test_what_it_has_nothing_for_is_refused(changed: dict[str, object], said: str) -> None:
    with pytest.raises(BadInput, match=said):
        arguments(SERVING.model_copy(update=changed))


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("tp-size", 2, "set 'tensor_parallel' of the serving config"),
        ("tensor-parallel-size", 2, "set 'tensor_parallel' of the serving config"),
        ("cuda_graph_backend_decode", "disabled", "set 'enforce_eager'"),
        ("api-key", "x", "none that a job may set"),
        ("config", "/etc/passwd", "none that a job may set"),
        ("model-path", "/else", "none that a job may set"),
        ("custom-weight-loader", "os.system", "none that a job may set"),
        ("file-storage-path", "/tmp", "none that a job may set"),
        ("enable-mixed-chunks", True, "did you mean 'enable-mixed-chunk'"),
        ("enable-mixed-chunk", False, "is a switch; write true"),
        ("enable-mixed-chunk", "yes", "is a switch; write true"),
        ("stream-interval", True, "takes a number, found True"),
        ("stream-interval", "8", "takes a number, found '8'"),
        ("attention-backend", "/lib/x.so", "takes one word, found '/lib/x.so'"),
        ("attention-backend", "a b", "takes one word"),
        ("attention-backend", "--port", "takes one word"),
        ("speculative-algorithm", "EAGLE", "'EAGLE' needs a second model"),
    ],
)
def test_flags_that_a_job_may_not_set(name: str, value: Flag, said: str) -> None:
    with pytest.raises(BadInput, match=said):
        arguments(with_flag(name, value))
