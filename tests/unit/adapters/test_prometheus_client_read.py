"""What a server shows to Prometheus, read."""

from __future__ import annotations

import pytest

from optikit.adapters.prometheus_client_read import MOST_SERIES, NoMetrics, families_and_values

TEXT = """\
# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{model_name="a \\"b\\"",engine="0"} 3.0
# HELP vllm:generation_tokens_total Number of generation tokens processed.
# TYPE vllm:generation_tokens_total counter
vllm:generation_tokens_total{engine="0"} 1205.0
# HELP vllm:generation_tokens_created Number of generation tokens processed.
# TYPE vllm:generation_tokens_created gauge
vllm:generation_tokens_created{engine="0"} 1.7e+09
# HELP e2e End to end.
# TYPE e2e histogram
e2e_bucket{le="0.5"} 2.0
e2e_bucket{le="+Inf"} 4.0
e2e_count 4.0
e2e_sum NaN
"""


def test_series_are_spelt_with_sorted_labels_and_their_values() -> None:
    families, values = families_and_values(TEXT)
    assert values == {
        'vllm:num_requests_running{engine="0",model_name="a \\"b\\""}': 3.0,
        'vllm:generation_tokens_total{engine="0"}': 1205.0,
        'e2e_bucket{le="0.5"}': 2.0,
        'e2e_bucket{le="+Inf"}': 4.0,
        "e2e_count": 4.0,
    }, "neither the time at which a series was made, nor what is no number"
    assert families["vllm:num_requests_running"] == [
        "gauge",
        "Number of requests in model execution batches.",
    ]
    assert families["vllm:generation_tokens"][0] == "counter"


@pytest.mark.parametrize("text", ["<html>no</html>", '{"detail": "Not Found"}', 'a{b="c} 1\n'])
def test_what_is_no_such_text_is_said_to_be_none(text: str) -> None:
    with pytest.raises(NoMetrics):
        families_and_values(text)


def test_too_many_series_are_refused() -> None:
    text = "# TYPE a gauge\n" + "".join(f'a{{n="{n}"}} 1\n' for n in range(MOST_SERIES + 1))
    with pytest.raises(NoMetrics, match="5000 series"):
        families_and_values(text)
