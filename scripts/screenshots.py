"""The pictures of the pages in docs/figures, made anew: a service, a job in virtual time, Chromium.

    .venv/bin/python scripts/screenshots.py

Needs what tests/integration/test_service_pages.py needs: Node.js, npm, Chromium. Takes two minutes.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

from optikit.archive import JobArchive  # noqa: E402
from tests.browser_pages import looked_at  # noqa: E402
from tests.services import RunningService, running_service, wait_until  # noqa: E402

FIGURES = ROOT / "docs" / "figures"
MOST_BYTES = 200_000
COLOURS = 64
SPEC: dict[str, Any] = {
    "flow": "quantize_and_tune",
    "model": {"name": "qwen-2.5-7b"},
    "engine": {"name": "simulated", "flags": {"seed": 3}},
    "flow_params": {"recipe": "fp8_dynamic", "num_trials": 8, "ablation": True},
    "compute": {"sku": "H100_2"},
    "workload": {"prompt_tokens": 1200, "output_tokens": 80},
    "slo": ["p95(e2e) <= 500 ms"],
}
QUICK = {**SPEC, "flow": "benchmark", "slo": ["p95(e2e) <= 2 s"]}
HOPELESS = {**SPEC, "flow": "benchmark", "slo": ["p95(e2e) <= 5 ms"]}
ENDED = ("done", "negative", "inconclusive")


def shoot(service: RunningService, pages: dict[str, str], folder: Path, height: int) -> None:
    """A picture a page, in few colours."""
    at = {name: service.url + path for name, path in pages.items()}
    looked_at(at, folder, "--own", service.url, "--width", "1100", "--height", str(height))
    small(folder / f"{name}.png" for name in pages)


def small(pictures: Iterable[Path]) -> None:
    """Into docs/figures, or an error where one is too large to be committed."""
    FIGURES.mkdir(exist_ok=True)
    for picture in pictures:
        target = FIGURES / f"page-{picture.name}"
        with Image.open(picture) as image:
            image.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE).save(
                target, optimize=True
            )
        size = target.stat().st_size
        print(f"{target.relative_to(ROOT)}: {size} bytes")
        if size > MOST_BYTES:
            raise SystemExit(f"{target} is larger than {MOST_BYTES} bytes; show less of the page")


def main() -> None:
    """Every picture."""
    with tempfile.TemporaryDirectory() as scratch:
        folder, home = Path(scratch), Path(scratch) / "home"
        with running_service(home) as service:
            server = service.server(None)
            for number, spec in enumerate((QUICK, HOPELESS)):
                job = server.submit(spec, 0, f"short-{number}")
                wait_until(job, lambda status: status["state"] in ENDED, 120)
            job = server.submit(SPEC, 0, "long")
            archive = JobArchive(home / "teams" / "default", job.id)
            until = time.monotonic() + 120
            while len(archive.of_kind("trial")) < 5:
                assert time.monotonic() < until, "no trial ends"
                time.sleep(0.2)
            shoot(service, {"job": f"/jobs/{job.id}"}, folder, 1150)
            shoot(service, {"jobs": "/jobs"}, folder, 400)
            wait_until(job, lambda status: status["state"] in ENDED, 240)
            ended = {"certificate": f"/jobs/{job.id}/certificate"}
            shoot(service, {**ended, "report": f"/jobs/{job.id}/report"}, folder, 1150)


if __name__ == "__main__":
    main()
