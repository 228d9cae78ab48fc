from __future__ import annotations

from optikit.reports.words import bytes_text, duration, number


def test_numbers_for_a_person() -> None:
    assert [duration(s) for s in (0.26, 59.9, 61, 3600)] == [
        "0.3 s",
        "59.9 s",
        "1 min 01 s",
        "1 h 00 min",
    ]
    assert [bytes_text(n) for n in (12, 2.5e6, 269e6, 1.4e12)] == [
        "12 B",
        "2.5 MB",
        "269.0 MB",
        "1.4 TB",
    ]
    assert [number(v) for v in (None, True, 1.23456, 7, "x")] == ["-", "yes", "1.23", "7", "x"]
