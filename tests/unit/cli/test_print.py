from __future__ import annotations

from optikit.cli._print import corner_table


def test_the_corner_table_has_the_talks_four_rows() -> None:
    empty = {
        "rate_rps": None,
        "rate_per_gpu": None,
        "slo_met": False,
        "gain": None,
        "reason": "SLO not met",
        "preliminary": False,
    }
    table = corner_table(dict.fromkeys(("baseline", "quantized", "tuned", "both"), empty))
    assert table.row_count == 4
