import logging
import sys
from pathlib import Path

import optuna
import pytest

from optikit.core.predict import Prediction
from optikit.core.space import Point, Space, key_of
from optikit.errors import ArchiveError, BadInput
from optikit.spec.serving import ServingConfig
from optikit.spec.space import Dimension
from optikit.tuners._database import masked, scrubbed
from optikit.tuners.base import Outcome, Seen
from optikit.tuners.tpe import TUNER
from optikit.tuners.tpe_warm import TUNER as WARM
from optikit.tuners.tpe_warm import predicted_best

DEFAULT = ServingConfig(max_model_len=1024)
DEGREES = Dimension(name="tensor_parallel", values=(1, 2, 4, 8), log=True)
SEQS = Dimension(name="max_num_seqs", values=(16, 32, 64, 128, 256, 512), log=True)
TOKENS = Dimension(name="max_num_batched_tokens", values=(1024, 2048, 4096, 8192, 16384), log=True)
SPACE = Space((DEGREES, SEQS, TOKENS), lambda serving: None, DEFAULT)
MIXED = Space(
    (
        SEQS,
        Dimension(name="kv_cache_dtype", values=("auto", "fp8")),
        Dimension(name="window", values=(8, 32), extra=True, when=(("kv_cache_dtype", "fp8"),)),
    ),
    lambda serving: "too many" if serving.max_num_seqs > 256 else None,
    DEFAULT,
)
BEST = {"tensor_parallel": 2, "max_num_seqs": 128, "max_num_batched_tokens": 4096}


def distance(point: Point) -> int:
    """Steps in the grid from BEST."""
    return sum(
        abs(int(point[name]).bit_length() - value.bit_length()) for name, value in BEST.items()
    )


def stored(folder: Path) -> list[optuna.trial.FrozenTrial]:
    url = f"sqlite:///{folder / 'study.db'}"
    return optuna.load_study(study_name="tune", storage=url).get_trials()


def test_it_learns_where_the_good_points_are(tmp_path: Path) -> None:
    study = TUNER.start(SPACE, 0, tmp_path)
    steps = []
    for _ in range(24):
        point = study.ask()
        assert point is not None
        steps.append(distance(point))
        study.tell(point, Outcome(-float(steps[-1])))
    # the 120 points are 1 + 1.5 + 1.2 = 3.7 steps away on average
    assert sum(steps[12:]) / 12 < 3.2
    assert min(steps) <= 1


def test_a_dashboard_sees_each_point_and_what_became_of_it(tmp_path: Path) -> None:
    study = TUNER.start(SPACE, 0, tmp_path)
    told: list[Point] = []
    for outcome in (
        Outcome(1.5),
        Outcome(0.75, "pruned"),
        Outcome(None, "pruned"),
        Outcome(None, "failed", cause="out of memory"),
    ):
        point = study.ask()
        assert point is not None
        study.tell(point, outcome)
        told.append(point)
    trials = [t for t in stored(tmp_path) if "point" in t.user_attrs]
    assert [t.user_attrs["point"] for t in trials] == told
    assert [t.user_attrs["state"] for t in trials] == ["complete", "pruned", "pruned", "failed"]
    assert [t.user_attrs.get("cause") for t in trials] == [None, None, None, "out of memory"]
    assert [t.state.name for t in trials] == ["COMPLETE", "PRUNED", "PRUNED", "FAIL"]
    assert [t.value for t in trials] == [1.5, 0.75, None, None]


def test_a_flag_is_a_parameter_only_where_its_condition_holds(tmp_path: Path) -> None:
    study = TUNER.start(MIXED, 0, tmp_path)
    for _ in range(9):
        point = study.ask()
        assert point is not None
        study.tell(point, Outcome(float(point["max_num_seqs"])))
    trials = stored(tmp_path)
    assert {t.params["kv_cache_dtype"] for t in trials} == {"auto", "fp8"}
    for trial in trials:
        assert ("window" in trial.params) == (trial.params["kv_cache_dtype"] == "fp8")


def test_what_other_jobs_saw_teaches_and_is_marked(tmp_path: Path) -> None:
    known = [
        Seen(point, Outcome(1.0 if distance(point) <= 1 else 0.1), weight=0.5)
        for point in SPACE.points()[::6]
    ]
    study = TUNER.start(SPACE, 0, tmp_path, known=known)
    steps = []
    for _ in range(6):
        point = study.ask()
        assert point is not None
        steps.append(distance(point))
        study.tell(point, Outcome(0.5))
    assert sum(steps) / 6 < 3  # of all points 3.7
    again = TUNER.start(SPACE, 0, tmp_path, known=known)
    again.ask()
    foreign = [t for t in stored(tmp_path) if "foreign" in t.user_attrs]
    assert len(foreign) == len(known), "not once a start"
    assert {t.user_attrs["foreign"] for t in foreign} == {0.5}


def test_a_process_that_dies_as_it_tells_asks_again(tmp_path: Path) -> None:
    study = TUNER.start(SPACE, 0, tmp_path)
    point = study.ask()
    assert point is not None
    own = optuna.load_study(study_name="tune", storage=f"sqlite:///{tmp_path / 'study.db'}")
    running = own.get_trials()[0]
    optuna.trial.Trial(own, running._trial_id).set_user_attr("state", "complete")
    for _ in range(2):  # the second start sees the first one's interrupted trial, too
        assert TUNER.start(SPACE, 0, tmp_path).ask() == point


def test_another_space_in_the_same_storage_is_refused(tmp_path: Path) -> None:
    TUNER.start(SPACE, 0, tmp_path)
    fewer = DEGREES.model_copy(update={"values": (1,)})
    with pytest.raises(ArchiveError, match="holds a search over"):
        TUNER.start(Space((fewer, SEQS, TOKENS), SPACE.refuse, DEFAULT), 0, tmp_path)


def test_a_resumed_search_does_not_draw_the_first_points_again(tmp_path: Path) -> None:
    first = TUNER.start(SPACE, 0, tmp_path).ask()
    again = TUNER.start(SPACE, 0, tmp_path)
    assert again.ask() == first  # interrupted, so asked again
    assert again.ask() != first


def test_without_optuna_it_says_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(BadInput, match=r"pip install 'optikit\[tune\]'"):
        TUNER.start(SPACE, 0, tmp_path)


def test_jobs_share_a_database_without_sharing_a_search(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'all.db'}"
    first = TUNER.start(SPACE, 0, tmp_path / "j1" / "study" / "baseline", url=url)
    point = first.ask()
    assert point is not None
    first.tell(point, Outcome(1.0))
    other = TUNER.start(SPACE, 0, tmp_path / "j2" / "study" / "baseline", url=url)
    assert other.ask() == point, "another job with the same seed"
    names = {study.study_name for study in optuna.get_all_study_summaries(url)}
    assert names == {"j1/baseline", "j2/baseline"}
    assert not list((tmp_path / "j1" / "study" / "baseline").iterdir())


@pytest.mark.parametrize(
    ("url", "error", "says"),
    [
        ("postgresql+psycopg://me:secret@db/optuna", BadInput, r"me@db/optuna.*psycopg\[binary\]"),
        ("postgresql://me:secret@db:x/optuna", BadInput, "no database URL"),
        ("nonsense://me:secret@db/optuna", BadInput, "nonsense://me@db/optuna is no database URL"),
        ("sqlite:////no/such/folder/secret.db", ArchiveError, "unable to open"),
    ],
)
def test_a_database_that_cannot_be_used_is_one_clear_error_without_its_password(
    url: str,
    error: type[Exception],
    says: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    caplog.set_level(logging.DEBUG)
    with pytest.raises(error, match=says) as caught:
        TUNER.start(SPACE, 0, tmp_path, url=url)
    assert "secret" not in str(caught.value).replace("folder/secret.db", "")
    assert ":secret" not in caplog.text
    assert "=secret" not in caplog.text


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://me:se%40cret@db:5432/optuna",
        "postgresql://me:secret?@db/optuna",
        "postgresql://me:s@secret@db/optuna",
        "postgresql://:secret@/optuna",
        "postgresql://db:5432/optuna?password=s@secret",
        "postgresql://db/optuna?user=me&sslpassword=secret",
        "postgresql://me:secret",
        "me:secret@db",
    ],
)
def test_a_shown_url_holds_no_password(url: str) -> None:
    assert "secret" not in masked(url)
    assert "cret" not in masked(url)


def test_a_drivers_message_is_scrubbed_of_the_password_however_it_is_written() -> None:
    url = "postgresql://me:s%40cret@db/optuna?sslpassword=oth+er"
    for told in ("s%40cret", "s@cret", "oth er", "oth+er"):
        assert scrubbed(f"no {told}!\nmore", url) == "no ***!"
    assert scrubbed("disk is full", None) == "disk is full"


class Table:
    """A prior that reads its rates from a function."""

    def __init__(self, per_degree: dict[int, float], margin: float = 0.5) -> None:
        self._per_degree = per_degree
        self._margin = margin

    def predict(self, point: Point) -> Prediction:
        degree = int(point["tensor_parallel"])
        rate = self._per_degree[degree]
        return Prediction(
            rate_rps=rate * degree,
            rate_per_device=rate,
            margin=self._margin * degree,
            e2e_ms=100.0,
            ttft_ms=10.0,
            tpot_ms=1.0,
            trial_s=60.0,
        )

    def learn(self, point: Point, outcome: Outcome) -> None:
        pass


def test_the_predicted_best_are_spread_over_the_degrees_that_may_win() -> None:
    found = predicted_best(SPACE, Table({1: 1.0, 2: 1.2, 4: 0.9, 8: 0.1}), 5, seed=0)
    assert [point["tensor_parallel"] for point in found] == [2, 1, 4, 2, 2]
    equal = [point for point in found if point["tensor_parallel"] == 2]
    assert {point["max_num_seqs"] for point in equal} >= {16, 512}, "of equal ones the furthest"
    assert len({key_of(point) for point in found}) == 5


def test_where_no_rate_is_predicted_the_nearest_to_the_limit_come_first() -> None:
    nowhere = Table(dict.fromkeys((1, 2, 4, 8), 0.0), margin=-1.0)
    found = predicted_best(SPACE, nowhere, 2, seed=0)
    assert [point["tensor_parallel"] for point in found] == [1, 1]


def test_a_warm_search_begins_with_the_predicted_best_even_when_resumed(tmp_path: Path) -> None:
    prior = Table({1: 1.0, 2: 1.2, 4: 0.9, 8: 0.1})
    starts = predicted_best(SPACE, prior, 5, seed=3)
    study = WARM.start(SPACE, 3, tmp_path, prior=prior)
    for wanted in starts[:2]:
        point = study.ask()
        assert point == wanted
        study.tell(point, Outcome(1.0))
    assert study.ask() == starts[2]
    again = WARM.start(SPACE, 3, tmp_path, prior=Table({1: 1.0, 2: 0.1, 4: 0.1, 8: 9.0}))
    asked = [again.ask() for _ in range(4)]
    assert {key_of(p) for p in asked[:3] if p} == {key_of(p) for p in starts[2:]}


def test_a_warm_search_without_a_prior_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="tpe_warm needs predictions"):
        WARM.start(SPACE, 0, tmp_path)
