"""One figure or byte of an archive is altered, and the checker says which."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from optikit.archive import JobArchive
from optikit.reports.check import check_archive
from optikit.spec.finding import ArchiveCheck
from tests.unit.reports.archive_case import altered, copied, driven, is_trial

Change = Callable[[Any], None]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> JobArchive:
    return driven(tmp_path_factory.mktemp("home"))


@pytest.fixture
def job(whole: JobArchive, tmp_path: Path) -> JobArchive:
    return copied(whole, tmp_path / "home")


def found(checked: ArchiveCheck, kind: str, where: str) -> bool:
    return any(one.kind == kind and where in one.where for one in checked.findings)


def in_trial_and_records(job: JobArchive, name: str, change: Change) -> None:
    """Alter a trial wherever it stands."""

    def everywhere(event: Any) -> None:
        rows = [event["trial"]] if event["kind"] == "trial" else event["record"]["trials"]
        for row in rows:
            if row["id"] == name:
                change(row)

    def holds(event: dict[str, Any]) -> bool:
        mine = event["kind"] == "record" and "trials" in event["record"]
        return is_trial(name)(event) or mine

    altered(job, holds, everywhere)


@pytest.mark.parametrize("method", ["doubling", "adjusted"])
def test_an_archive_as_it_was_written_is_clean(
    whole: JobArchive, tmp_path: Path, method: str
) -> None:
    """Both methods of search come to the same figures again, to the last digit."""
    job = whole
    if method == "adjusted":
        few = {"num_trials": 1, "space": {"tensor_parallel": [2], "max_num_seqs": [64]}}
        job = driven(tmp_path, method={"name": "adjusted"}, flow_params=few)
    checked = check_archive(job)
    assert checked.findings == ()
    assert checked.trials == len(job.trials()) >= 3
    assert checked.probes > 8
    assert checked.requests > 200
    assert checked.files > 15
    assert checked.torn_lines == 0


FIGURES: dict[str, Change] = {
    "rate.rate_rps": lambda t: t["rate"].update(rate_rps=t["rate"]["rate_rps"] * 1.001),
    "rate.rate_low_rps": lambda t: t["rate"].update(rate_low_rps=1.0),
    "rate.requests": lambda t: t["rate"].update(requests=t["rate"]["requests"] + 1),
    "rate.requests_at_rate": lambda t: t["rate"].update(requests_at_rate=7),
    "rate.preliminary": lambda t: t["rate"].update(preliminary=False),
    "rate.outcome": lambda t: t["rate"].update(outcome="infeasible"),
    "fitness": lambda t: t.update(fitness=t["fitness"] + 1e-4),
    "state": lambda t: t.update(state="pruned"),
    "probe 2.measurement.quantiles.0.value_ms": lambda t: t["rate"]["probes"][1]["measurement"][
        "quantiles"
    ][0].update(value_ms=1.0),
    "probe 3.measurement.achieved_rps": lambda t: t["rate"]["probes"][2]["measurement"].update(
        achieved_rps=99.0
    ),
    "probe 3.measurement.bounds.0.over": lambda t: t["rate"]["probes"][2]["measurement"]["bounds"][
        0
    ].update(over=3),
    "probe 3.measurement.slope": lambda t: t["rate"]["probes"][2]["measurement"].update(slope=1.0),
    "probe 3.verdict": lambda t: t["rate"]["probes"][2].update(verdict="void"),
    "probe 3.reason": lambda t: t["rate"]["probes"][2].update(reason="because"),
}


@pytest.mark.parametrize("figure", FIGURES)
def test_one_figure_of_a_trial_is_altered_everywhere(job: JobArchive, figure: str) -> None:
    """In the trial's event and in the records alike: only the raw requests tell."""
    in_trial_and_records(job, "b0-baseline", FIGURES[figure])
    assert found(check_archive(job), "figure", f"trials/b0-baseline: {figure}")


def test_a_record_whose_trial_is_not_the_journals(job: JobArchive) -> None:
    altered(
        job,
        lambda e: e["kind"] == "record" and e["record"]["stage"] == "benchmark",
        lambda e: e["record"]["trials"][0].update(startup_s=1.25),
    )
    assert found(check_archive(job), "figure", "record of benchmark: trial b0-baseline: startup_s")


@pytest.mark.parametrize(
    ("stage", "key", "value", "where"),
    [
        ("tune", "winner", "t00-baseline-none", "record of tune: winner"),
        ("tune", "contenders", [], "record of tune: contenders"),
        ("publish", "trial", "nobody", "record of publish: trial"),
    ],
)
def test_one_choice_of_a_record_is_altered(
    job: JobArchive, stage: str, key: str, value: Any, where: str
) -> None:
    altered(
        job,
        lambda e: e["kind"] == "record" and e["record"]["stage"] == stage,
        lambda e: e["record"].update({key: value}),
    )
    assert found(check_archive(job), "figure", where)


def test_inputs_that_are_others(job: JobArchive) -> None:
    altered(
        job,
        lambda e: e["kind"] == "record" and e["record"]["stage"] == "tune",
        lambda e: e["record"].update(inputs_digest="sha256:" + "0" * 64),
    )
    assert found(check_archive(job), "digest", "record of tune: inputs_digest")


@pytest.mark.parametrize(
    ("key", "value"),
    [("message", "certified"), ("verdict", "kept"), ("state", "negative"), ("exit_code", 3)],
)
def test_the_end_is_altered(job: JobArchive, key: str, value: Any) -> None:
    altered(
        job,
        lambda e: e["kind"] == "state" and e["state"] == "done",
        lambda e: e.update({key: value}),
    )
    assert found(check_archive(job), "figure", f"the last state: {key}")


def first_probe(job: JobArchive) -> Path:
    return job.root / "trials" / "b0-baseline" / "probe-03.jsonl"


def test_one_byte_of_a_raw_file_is_altered(job: JobArchive) -> None:
    """The last digit of one time: no figure moves by much, the digest by all of it."""
    file = first_probe(job)
    lines = file.read_text().splitlines()
    row = json.loads(lines[5])
    row["prompt_tokens"] += 1
    lines[5] = json.dumps(row)
    file.write_text("\n".join(lines) + "\n")
    checked = check_archive(job)
    assert found(checked, "digest", "trials/b0-baseline/probe-03.jsonl")
    assert found(checked, "figure", "probe 3.measurement.total_tokens_per_s")


def test_arrivals_that_are_not_those_of_the_seed(job: JobArchive) -> None:
    """Whoever makes timings up has to make the arrivals up as well."""
    file = first_probe(job)
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    for row in rows:
        for name in ("scheduled_s", "sent_s", "first_token_s", "end_s"):
            row[name] = round(row[name] + 0.25, 6)
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert found(check_archive(job), "figure", "probe 3.scheduled_s")


@pytest.mark.parametrize("name", ["probe-03.jsonl", "serving.json"])
def test_a_file_that_is_gone(job: JobArchive, name: str) -> None:
    (job.root / "trials" / "b0-baseline" / name).unlink()
    checked = check_archive(job)
    assert any(
        one.kind in ("missing", "unreadable") and name in one.where for one in checked.findings
    )


def test_a_serving_config_that_is_another(job: JobArchive) -> None:
    file = job.root / "trials" / "b0-baseline" / "serving.json"
    facts = json.loads(file.read_text())
    file.write_text(json.dumps({**facts, "max_num_seqs": facts["max_num_seqs"] + 1}))
    assert found(check_archive(job), "figure", "serving.json: max_num_seqs")


def own_bundle(job: JobArchive) -> Path:
    """The bundle of a copy: records name the original's folder."""
    there, here = job.records()["publish"].bundle, job.home / "bundles" / job.job_id  # type: ignore[union-attr]
    for kind in ("record", "published"):
        altered(
            job,
            lambda e, k=kind: e["kind"] == k and str(there) in json.dumps(e),  # type: ignore[misc]
            lambda e: e.get("record", e).update(bundle=str(here)),
        )
    return here


@pytest.mark.parametrize("name", ["serving.yaml", "serve.sh", "README.md", "certificate.json"])
def test_one_byte_of_the_bundle_is_altered(job: JobArchive, name: str) -> None:
    file = own_bundle(job) / name
    assert not found(check_archive(job), "digest", name)
    content = file.read_bytes()
    file.write_bytes(content.replace(b"a", b"e", 1))
    assert found(check_archive(job), "digest", name)


def test_a_certificate_that_claims_more(job: JobArchive) -> None:
    file = own_bundle(job) / "certificate.json"
    facts = json.loads(file.read_text())
    file.write_text(json.dumps({**facts, "rate_rps": 2 * facts["rate_rps"]}))
    assert found(check_archive(job), "figure", "certificate.json: rate_rps")


def test_a_model_that_is_another(job: JobArchive) -> None:
    file = own_bundle(job) / "simulated.json"
    content = file.read_bytes()
    file.unlink()  # it is a second name of the artifact's
    file.write_bytes(content.replace(b"layers", b"Layers", 1))
    assert found(check_archive(job), "digest", "the bundle's model")


def test_a_finished_trial_that_ran_again(job: JobArchive) -> None:
    trial = job.trials()[0]
    lines = job.journal.read_bytes().splitlines(keepends=True)
    last = lines.pop()
    job.journal.write_bytes(b"".join(lines))
    job.event("trial", trial=trial.model_dump(mode="json"))
    with job.journal.open("ab") as file:
        file.write(last)
    assert found(check_archive(job), "history", f"trial {trial.id} ended before")


def test_a_trial_that_began_and_of_which_nobody_heard(job: JobArchive) -> None:
    lines = job.journal.read_bytes().splitlines(keepends=True)
    kept = [line for line in lines if b'"trial": {"id": "t01-' not in line]
    assert len(kept) == len(lines) - 1
    job.journal.write_bytes(b"".join(kept))
    assert found(check_archive(job), "history", "began and has no end")


def test_work_after_the_end(job: JobArchive) -> None:
    job.event("occupied", what="trial", devices=1, seconds=1.0)
    assert found(check_archive(job), "history", "after the end")


@pytest.mark.parametrize(
    ("state", "where"),
    [("done", "done after done"), ("sleeping", "state")],
)
def test_states_that_cannot_follow(job: JobArchive, state: str, where: str) -> None:
    job.event("state", state=state, exit_code=0, message="", verdict=None)
    assert found(check_archive(job), "history", where)


def test_a_torn_line_is_counted_and_an_altered_one_is_found(job: JobArchive) -> None:
    """A crash leaves the first; nothing honest leaves the second."""
    lines = job.journal.read_bytes().splitlines(keepends=True)
    job.journal.write_bytes(b"".join([*lines[:3], lines[3][:40] + b"\n", *lines[3:]]))
    checked = check_archive(job)
    assert (checked.findings, checked.torn_lines) == ((), 1)
    broken = lines[4].replace(b'"kind"', b'"kine"', 1)
    job.journal.write_bytes(b"".join([*lines[:4], broken, *lines[5:]]))
    assert found(check_archive(job), "unreadable", "journal.jsonl line 5")
    bare = lines[4].rpartition(b', "crc"')[0] + b"}\n"
    job.journal.write_bytes(b"".join([*lines[:4], bare, *lines[5:]]))
    assert found(check_archive(job), "digest", "journal.jsonl line 5: checksum")


def test_a_journal_that_is_gone(job: JobArchive) -> None:
    job.journal.unlink()
    assert found(check_archive(job), "missing", "journal.jsonl")
