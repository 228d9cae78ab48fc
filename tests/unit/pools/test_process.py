"""GPUs lent to processes by index; no GPU is needed to see it."""

from __future__ import annotations

import threading

import pytest

from optikit.errors import DoesNotFit
from optikit.pools import process


@pytest.fixture
def devices(monkeypatch: pytest.MonkeyPatch) -> process._Devices:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(process, "gpu_count", lambda: 4)
    return process._Devices()


def test_two_tasks_never_hold_the_same_device(devices: process._Devices) -> None:
    with devices.lent(2) as one, devices.lent(1) as two, devices.lent(0) as none:
        assert (one, two, none) == ("0,1", "2", None)
    with devices.lent(4) as every:
        assert every == "0,1,2,3"


def test_who_asks_for_more_than_is_free_waits(devices: process._Devices) -> None:
    got: list[str | None] = []

    def ask() -> None:
        with devices.lent(3) as mine:
            got.append(mine)

    with devices.lent(2):
        waits = threading.Thread(target=ask)
        waits.start()
        waits.join(0.05)
        assert got == []
    waits.join(10)
    assert got == ["0,1,2"]


def test_more_than_the_machine_has_is_refused(devices: process._Devices) -> None:
    with pytest.raises(DoesNotFit, match="asks for 5 GPUs, this machine has 4"), devices.lent(5):
        pass


def test_only_what_is_visible_is_lent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,7")
    with process._Devices().lent(2) as mine:
        assert mine == "5,7"
