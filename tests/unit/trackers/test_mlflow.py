from typing import Any

from optikit.spec.record import Trial
from optikit.trackers.mlflow import trial_metrics, trial_params


def trial(**changes: Any) -> Trial:
    probe = {
        "number": 1,
        "phase": "open",
        "rate_rps": 4.0,
        "verdict": "pass",
        "reason": "",
        "measurement": {
            "requests": 60,
            "completed": 60,
            "failed": 0,
            "offered_rps": 4.0,
            "achieved_rps": 4.0,
            "output_tokens_per_s": 32.0,
            "total_tokens_per_s": 1.0,
            "duration_s": 1.0,
            "quantiles": [{"metric": "e2e", "percentile": 95, "value_ms": 480.0}],
            "mean_e2e_ms": 1.0,
        },
    }
    return Trial.parse(
        {
            "id": "t00",
            "number": 0,
            "purpose": "tune",
            "variant": "compressed",
            "state": "complete",
            "model_digest": "d",
            "serving": {
                "max_model_len": 64,
                "tensor_parallel": 2,
                "extra_flags": [["block-size", 16]],
            },
            "rate": {
                "outcome": "pass",
                "rate_rps": 4.0,
                "preliminary": True,
                "reason": "",
                "method": "doubling",
                "requests": 120,
                "probes": [probe],
            },
            "fitness": 2.0,
            **changes,
        }
    )


def test_figures_of_a_trial_that_passed() -> None:
    found = trial_metrics(trial())
    assert found["rate_rps"] == 4.0
    assert found["rate_per_device_rps"] == 2.0
    assert found["p95_e2e_ms"] == 480.0
    assert found["output_tokens_per_s"] == 32.0
    assert found["requests"] == 120


def test_a_failed_trial_has_no_figures_of_a_rate() -> None:
    found = trial_metrics(trial(rate=None, fitness=None, state="failed"))
    assert set(found) == {"startup_s", "measuring_s"}


def test_every_flag_of_the_serving_config_is_a_parameter() -> None:
    found = trial_params(trial())
    assert found["tensor_parallel"] == "2"
    assert found["flag.block-size"] == "16"
    assert found["variant"] == "compressed"
    assert "extra_flags" not in found
    assert all(isinstance(value, str) for value in found.values())
