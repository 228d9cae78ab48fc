"""Live progress of a job: a display on a terminal, a line an event in a pipe."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from optikit.cli._print import as_json, bytes_text, duration, say
from optikit.cli.show import show
from optikit.errors import Cancelled
from optikit.reports.telling import told
from optikit.spec.simulated import marked

if TYPE_CHECKING:
    from optikit.api import Job, RemoteJob
    from optikit.service.client import ServedJob
    from optikit.spec.plan import Plan

__all__ = ["Progress", "follow"]


def follow(
    job: Job | RemoteJob | ServedJob,
    as_json_only: bool = False,
    cancels: bool = True,
    headed: bool = False,
) -> int:
    """Wait for the job's end and print its result; the exit code.

    Args:
        cancels: whether Ctrl-C cancels the job or only stops watching it.
        headed: say first what the job is and what it needs.

    Raises:
        OptikitError: as Job.result.
    """
    try:
        if as_json_only:
            result = job.result()
            as_json(result.summary)
            return result.exit_code
        plan = job.plan()
        progress = Progress(plan)
        if headed:
            say(_head(job.id, plan))
        if sys.stdout.isatty():
            with Live(console=Console(), refresh_per_second=4, transient=True) as live:
                result = job.result(on_event=lambda event: live.update(progress.feed(event)))
        else:
            result = job.result(on_event=lambda event: _plain(progress, event))
    except KeyboardInterrupt:
        if not cancels:
            print(f"job {job.id} goes on", file=sys.stderr)
            return Cancelled.exit_code
        print("cancelling ...", file=sys.stderr)
        job.cancel()
        raise Cancelled(f"job {job.id} was cancelled") from None
    show(result.summary)
    return result.exit_code


def _head(job_id: str, plan: Plan) -> str:
    text = (
        f"job {job_id}: {plan.flow.name} of {plan.job.model.name} on {plan.job.compute.sku}; first "
        f"estimate {duration(plan.estimate_s)}, {bytes_text(plan.disk_bytes)} of disk"
    )
    return marked(text, plan.simulated)


def _plain(progress: Progress, event: dict[str, Any]) -> None:
    progress.feed(event)
    if progress.line:
        stamp = time.strftime("%H:%M:%S", time.localtime(event["t"]))
        say(f"{stamp} {progress.line}")


class Progress:
    """What is known of a running job, event by event."""

    def __init__(self, plan: Plan) -> None:
        self.line = ""
        """The last event in words; empty where it is not worth a line."""
        self._left_of = plan.estimate_s
        self._began = time.time()
        self._stages = dict.fromkeys(plan.flow.stages, "waiting")
        self._trial = ""
        self._probe = ""
        self._best = ""
        self._best_rate = 0.0
        variants = 2 if plan.job.flow_params.ablation and plan.flow.compresses else 1
        searches = ("benchmark" in plan.flow.stages) + plan.trials
        self._trials = searches * variants
        self._simulated, self._elsewhere = plan.simulated, plan.elsewhere
        self._ended = 0
        self._search_s: list[float] = []

    def feed(self, event: dict[str, Any]) -> Group:
        """Take one event in; what a terminal shows now."""
        self.line = ""
        if event["kind"] == "created":
            self._began = event["t"]
        words = getattr(self, f"_on_{event['kind']}", None)
        if words is not None:
            line = words(event)
            self.line = marked(line, self._simulated) if line else ""
        return self.render()

    def _on_stage(self, event: dict[str, Any]) -> str:
        self._stages[event["stage"]] = event["state"]
        self._trial = self._probe = ""
        return told(event)

    def _on_trial_started(self, event: dict[str, Any]) -> str:
        self._probe = ""
        line = told(event, self._elsewhere)
        self._trial = line.strip().removeprefix("trial ")
        return line

    def _on_probe(self, event: dict[str, Any]) -> str:
        line = told(event)
        self._probe = line.strip().removeprefix("probe ") or self._probe
        return line

    def _on_trial(self, event: dict[str, Any]) -> str:
        trial = event["trial"]
        self._ended += 1
        self._search_s.append(trial["startup_s"] + trial["measuring_s"] + trial["teardown_s"])
        self._left_of = sum(self._search_s) / len(self._search_s) * self._trials
        rate = trial["rate"]
        if rate is None or rate["outcome"] != "pass":
            return told(event)
        if rate["rate_rps"] > self._best_rate:
            self._best_rate = rate["rate_rps"]
            self._best = f"{self._best_rate:.3g} req/s by {trial['id']} ({trial['variant']})"
        return f"{told(event)}; best so far {self._best}"

    def _on_note(self, event: dict[str, Any]) -> str:
        return told(event)

    def _on_attempt_failed(self, event: dict[str, Any]) -> str:
        return told(event)

    def _left(self) -> str:
        if self._search_s:
            mean = sum(self._search_s) / len(self._search_s)
            return duration(mean * max(0, self._trials - self._ended))
        return duration(max(0.0, self._left_of - (time.time() - self._began)))

    def render(self) -> Group:
        """The display of a terminal."""
        marks = {"done": "✔", "skipped": "✔", "running": "▶", "failed": "✘", "cancelled": "✘"}
        head = "  ".join(f"{marks.get(s, '·')} {name}" for name, s in self._stages.items())
        lines = [Text(marked(head, self._simulated))]
        if self._trial:
            lines.append(Text(f"trial {self._trial}  [{self._ended}/{self._trials} ended]"))
        if self._probe:
            lines.append(Text(f"probe {self._probe}"))
        lines.append(Text(f"best so far: {self._best or '-'}   time left: about {self._left()}"))
        return Group(*lines)
