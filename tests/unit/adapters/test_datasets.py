"""The library's call is stood in for: no test of this folder goes to the network."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from optikit.adapters.datasets import hub_rows, table
from optikit.errors import DatasetError

datasets = pytest.importorskip("datasets")


class Stream:
    """What ``load_dataset(streaming=True)`` gives, as far as it is used."""

    def __init__(self, rows: list[dict[str, Any]], then: Exception | None = None) -> None:
        self.rows, self.then, self.decoded = rows, then, True

    def decode(self, enable: bool) -> Stream:
        self.decoded = enable
        return self

    def __iter__(self) -> Iterator[dict[str, Any]]:
        yield from self.rows
        if self.then:
            raise self.then


def test_the_library_is_asked_for_a_stream_of_the_hub_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[tuple[Any, ...]] = []
    stream = Stream([{"text": "one"}])

    def load(*path: Any, **options: Any) -> Stream:
        asked.append((path, options))
        return stream

    monkeypatch.setattr(datasets, "load_dataset", load)
    assert list(hub_rows("acme/talk", "en", "v1", "test")) == [{"text": "one"}]
    options = {"split": "test", "revision": "v1", "streaming": True}
    assert asked == [(("hf://datasets/acme/talk", "en"), options)]
    assert stream.decoded is False


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ConnectionError("Couldn't reach 'acme/talk' on the Hub\nmore"), "after 1 rows: Couldn't"),
        (ValueError('Bad split: test. Available splits: ["train"]'), "Available splits"),
        (RuntimeError("Dataset scripts are no longer supported"), "no longer supported"),
    ],
)
def test_what_the_library_raises_is_one_line(
    error: Exception, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(datasets, "load_dataset", lambda *a, **k: Stream([{"text": "x"}], error))
    with pytest.raises(DatasetError, match=words) as caught:
        list(hub_rows("acme/talk", None, None, "train"))
    assert "\n" not in str(caught.value)


def test_the_error_that_began_it_is_told_too(monkeypatch: pytest.MonkeyPatch) -> None:
    error = ConnectionError("Couldn't reach the hub")
    error.__cause__ = OSError("no such name")
    monkeypatch.setattr(datasets, "load_dataset", lambda *a, **k: Stream([], error))
    with pytest.raises(DatasetError, match=r"ConnectionError: Couldn't .* <- no such name"):
        list(hub_rows("acme/talk", None, None, "train"))


def test_the_real_library_says_that_it_is_offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    with pytest.raises(DatasetError, match=r"ConnectionError: .*reach.*acme/talk.*"):
        list(hub_rows("acme/talk", None, None, "train"))


def test_a_table_holds_the_rows() -> None:
    made = table([{"input_ids": [1, 2]}, {"input_ids": [3]}])
    assert made["input_ids"][1] == [3]
