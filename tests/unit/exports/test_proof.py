"""What an export says of the certificate can neither leave its line nor say too much."""

from __future__ import annotations

import pytest

from optikit.exports import EXPORTS
from optikit.exports._proof import labels, one_line, stated
from tests.bundles import bundle, render

EVIL = "m\r\nExecStart=/bin/evil\x85x\u2028- y\x1b[31m %h \\"
ON_MACHINE = ("command", "env", "systemd", "compose")
TARGETS = [name for name in EXPORTS.names() if name != "rayjob"]


def where(target: str) -> dict[str, str]:
    found = {"model_path": "/m" if target in ON_MACHINE else "m"}
    return {**found, "python": "/usr/bin/python3"} if target == "systemd" else found


@pytest.mark.parametrize("target", TARGETS)
def test_a_models_name_cannot_leave_its_comment(target: str) -> None:
    plain = render(target, bundle(name="m"), **where(target))
    text = render(target, bundle(name=EVIL), **where(target))
    head = [line.startswith("#") for line in text.splitlines()].index(False)
    assert head == [line.startswith("#") for line in plain.splitlines()].index(False)
    assert not any(line.endswith("\\") for line in text.splitlines()[:head])
    if target == "systemd":
        assert [x for x in text.splitlines() if x.startswith("ExecStart=")] != []
        assert "ExecStart=/bin/evil" not in text.splitlines()
    assert "\x1b" not in "".join(text.splitlines()[:head])


@pytest.mark.parametrize("target", TARGETS)
def test_every_export_says_claim_digest_and_doubt(target: str) -> None:
    certified = render(target, bundle(), **where(target))
    assert "# certified: 4.25 requests/s hold the SLO\n" in certified
    assert "# Certificate sha256:cece" in certified
    assert "NOT CERTIFIED" not in certified
    doubted = render(target, bundle(status="preliminary"), **where(target)).splitlines()
    assert doubted[1].startswith("# NOT CERTIFIED")


def test_every_target_is_tried_here() -> None:
    assert set(TARGETS) > set(ON_MACHINE)
    assert len(TARGETS) == 8


def test_a_negative_certificate_states_no_rate() -> None:
    found = stated(bundle(status="negative"))
    assert "optikit/rate-rps" not in found
    assert found["optikit/verdict"] == "infeasible"
    assert found["optikit/claim"] == "negative, infeasible: p95(e2e) is 900 ms at 0.1 requests/s"


def test_an_unmeasured_bundle_states_what_it_is() -> None:
    found = stated(bundle(status=None))
    assert found["optikit/status"] == "not measured"
    assert labels(bundle(status=None))["optikit/status"] == "not-measured"


def test_one_line_keeps_what_can_be_printed() -> None:
    assert one_line("a\n b\x85c\u2028d \x00é") == "a b c d é"
