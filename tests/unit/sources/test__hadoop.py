from __future__ import annotations

import pytest

from optikit.core.addresses import Address
from optikit.errors import SpecError
from optikit.sources._hadoop import namenode


def test_host_port_and_path() -> None:
    assert namenode(Address("webhdfs", "nn:9870/a/b")) == ("nn", 9870, "/a/b")
    assert namenode(Address("hdfs", "service/a")) == ("service", None, "/a")


@pytest.mark.parametrize("place", ["nn", "nn:9870", ":1/a", "nn:x/a"])
def test_what_is_none(place: str) -> None:
    with pytest.raises(SpecError, match=r"asked no hdfs://HOST:PORT/FOLDER"):
        namenode(Address("hdfs", place))
