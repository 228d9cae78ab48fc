"""lm-evaluation-harness against a served model: the same items, in the same order, for each."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import logging
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from optikit.adapters.jinja2 import sandbox, template_error
from optikit.errors import BadInput, EngineError, OptikitError, UnknownName, nearest
from optikit.evaluators._task_file import shipped, task_config, with_own_data
from optikit.spec.endpoint import Endpoint
from optikit.spec.permit import ANYTHING, Permit
from optikit.spec.quality import ItemScores

__all__ = ["EVALUATOR"]

METRICS = ("acc", "exact_match", "acc_norm", "f1")
"""The first that a task has is the one that is compared."""
CONCURRENCY = 8
_UNLOADABLE = (
    *(OSError, ValueError, RuntimeError, ImportError),
    *(KeyError, TypeError, AttributeError, AssertionError),
)
_FREE_OF_LIBRARY = (".yaml", ".yml")


class LmEval:
    """Runs in the calling process; whoever calls gives it a worker of its own."""

    name = "lm_eval"

    def version(self) -> str:
        """Version of lm-eval.

        Raises:
            OptikitError: it is not installed.
        """
        try:
            return importlib.metadata.version("lm-eval")
        except importlib.metadata.PackageNotFoundError:
            raise OptikitError(
                "the evaluate stage needs lm-eval; make setup, or: pip install 'optikit[evaluate]'"
            ) from None

    def check(self, tasks: Sequence[str], permit: Permit = ANYTHING) -> None:
        """As evaluators/base.py; shipped tasks and files cost no import of the library."""
        self.version()
        for task in tasks:
            if _is_own(task):
                task_config(task, permit.roots)
            elif task not in _library():
                known = [*shipped(), *_library()]
                raise UnknownName(
                    f"quality.tasks: unknown task {task!r}; {_few(nearest(task, known))}"
                )

    def identity(self, tasks: Sequence[str], permit: Permit = ANYTHING) -> str:
        """As evaluators/base.py; a task of the library is known by the library's version."""
        whole = hashlib.sha256(f"lm_eval {self.version()} {METRICS}".encode())
        for task in tasks:
            whole.update(f"\0{task}\0".encode())
            if _is_own(task):
                config = task_config(task, permit.roots)
                given = dict(config.get("dataset_kwargs") or {})
                data_files = given.pop("data_files", None) or {}
                whole.update(repr({**config, "dataset_kwargs": given}).encode())
                folders = [config.get("dataset_path"), given.get("data_dir")]
                for name in [*(data_files[split] for split in sorted(data_files)), *folders]:
                    for file in _files(name):
                        whole.update(file.name.encode() + b"\0" + file.read_bytes())
        return f"sha256:{whole.hexdigest()}"

    def score(
        self,
        endpoint: Endpoint,
        tokenizer: Path,
        tasks: Sequence[str],
        *,
        context: int,
        limit: int | None,
        work: Path,
        permit: Permit = ANYTHING,
    ) -> tuple[ItemScores, ...]:
        """As evaluators/base.py."""
        from lm_eval import simple_evaluate
        from lm_eval.tasks import TaskManager

        from optikit.adapters.http import ClientError

        roots = permit.roots
        own = [
            with_own_data(task_config(task, roots), roots, work) if _is_own(task) else task
            for task in tasks
        ]
        arguments = {
            "model": endpoint.model,
            "base_url": f"{endpoint.base_url}/v1/completions",
            "tokenizer": str(tokenizer),
            "tokenizer_backend": "huggingface",
            "tokenized_requests": True,
            "max_length": context - 1,  # the server generates one token more
            "num_concurrent": CONCURRENCY,
            "max_retries": 2,
            "timeout": 120,
            "trust_remote_code": permit.code,
        }
        with _quiet(work / "lm_eval.log"), _key(endpoint.api_key), _sandboxed_templates():
            # listing the library's own tasks takes longer than scoring a small one
            known = TaskManager(include_defaults=any(isinstance(task, str) for task in own))
            try:
                known.load(own)  # what cannot be loaded is not the server's fault
            except (*_UNLOADABLE, template_error()) as error:
                raise BadInput(
                    f"quality.tasks: {', '.join(tasks)} cannot be loaded: "
                    f"{type(error).__name__}: {error}"
                ) from error
            try:
                found = simple_evaluate(
                    model="local-completions",
                    model_args=arguments,
                    tasks=own,
                    limit=limit,
                    batch_size=1,
                    bootstrap_iters=0,
                    log_samples=True,
                    task_manager=known,
                )
            except (OSError, RuntimeError, ValueError, ClientError) as error:
                raise EngineError(
                    f"lm-eval got no whole answer from {endpoint.base_url}: "
                    f"{type(error).__name__}: {error} (see {work / 'lm_eval.log'})"
                ) from error
        samples = (found or {}).get("samples", {})
        if not samples:
            raise BadInput(f"quality.tasks: {', '.join(tasks)} gave no items")
        return tuple(_scores(name, rows) for name, rows in samples.items())


def _scores(task: str, rows: Sequence[dict[str, Any]]) -> ItemScores:
    """One score an item; of a task that logs each item under several filters, the first filter."""
    chosen = rows[0].get("filter")
    kept = [row for row in rows if row.get("filter") == chosen]
    rows = sorted(kept, key=lambda row: int(row["doc_id"]))
    metric = next((name for name in METRICS if name in rows[0]), None)
    if metric is None:
        raise BadInput(
            f"quality.tasks: {task} has none of the metrics {', '.join(METRICS)} an item; "
            "choose a task that scores each item"
        )
    named = metric if chosen in (None, "none") else f"{metric} ({chosen})"
    return ItemScores(task=task, metric=named, scores=tuple(float(row[metric]) for row in rows))


def _files(name: object) -> list[Path]:
    """The file of that name, or those of the folder; none where it is neither."""
    path = Path(str(name)) if name else None
    if path is None or not path.exists():
        return []
    return [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())


def _is_own(task: str) -> bool:
    """A file, or a task that ships: both cost no import of the library."""
    return task.endswith(_FREE_OF_LIBRARY) or task in shipped()


def _library() -> list[str]:
    from lm_eval.tasks import TaskManager

    return list(TaskManager().all_tasks)


def _few(text: str, longest: int = 400) -> str:
    return text if len(text) <= longest else f"{text[:longest]} ..."


@contextlib.contextmanager
def _sandboxed_templates() -> Iterator[None]:
    """A task's Jinja templates are data: they may not reach Python's inside."""
    import lm_eval.utils

    plain = lm_eval.utils.env
    lm_eval.utils.env = sandbox(plain)
    try:
        yield
    finally:
        lm_eval.utils.env = plain


@contextlib.contextmanager
def _key(api_key: str | None) -> Iterator[None]:
    """lm-eval reads the key from the environment only."""
    before = os.environ.get("OPENAI_API_KEY")
    os.environ["OPENAI_API_KEY"] = api_key or "none"
    try:
        yield
    finally:
        os.environ.pop("OPENAI_API_KEY")
        if before is not None:
            os.environ["OPENAI_API_KEY"] = before


@contextlib.contextmanager
def _quiet(log: Path) -> Iterator[None]:
    """The library's words and progress bars go to a file."""
    root = logging.getLogger()
    before = root.handlers[:]
    with log.open("a") as file:
        writer = logging.StreamHandler(file)
        root.handlers = [writer]
        with contextlib.redirect_stdout(file), contextlib.redirect_stderr(file):
            try:
                yield
            finally:
                root.handlers = before


EVALUATOR = LmEval()
