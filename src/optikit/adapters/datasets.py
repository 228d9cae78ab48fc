"""The Hugging Face hub, and tables for llm-compressor: the one importer of datasets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from optikit.errors import BadInput, DatasetError, OptikitError, SourceError

__all__ = ["cached_folder", "commit_of", "hub_rows", "offline", "table"]


def hub_rows(
    name: str, config: str | None, revision: str | None, split: str
) -> Iterator[dict[str, Any]]:
    """The rows of a hub dataset as they stream in.

    The library runs no code of the dataset (it no longer can), and a folder of the same name on
    this machine is not looked at. Images and sounds are not decoded.

    Raises:
        DatasetError: the hub cannot be reached, or has no such dataset, revision or split.
        OptikitError: the library is not installed.
    """
    try:
        import httpx
        from datasets import load_dataset
        from datasets.exceptions import DatasetsError
    except ImportError as error:
        raise OptikitError(
            f"a dataset of the hub needs the library datasets ({error}); "
            "make setup, or: pip install 'optikit[compress]'"
        ) from error
    rows = 0
    try:
        stream = load_dataset(
            f"hf://datasets/{name}", config, split=split, revision=revision, streaming=True
        )
        for row in stream.decode(False):
            yield dict(row)
            rows += 1
    except (DatasetsError, httpx.HTTPError, OSError, ValueError, RuntimeError) as error:
        at = f" after {rows} rows" if rows else ""
        raise DatasetError(f"{type(error).__name__}{at}: {_words(error)}") from error


def table(rows: Sequence[Mapping[str, Any]]) -> Any:
    """Rows as the library's in-memory table."""
    from datasets import Dataset

    return Dataset.from_list([dict(row) for row in rows])


def offline() -> bool:
    """Whether the environment says that the hub is not to be asked.

    Raises:
        OptikitError: the library is missing.
    """
    try:
        from huggingface_hub import constants
    except ImportError as error:
        raise OptikitError(
            f"hf:// needs a library ({error}); pip install 'optikit[evaluate]'"
        ) from error
    return bool(constants.is_offline_mode())


def commit_of(name: str, revision: str | None) -> str:
    """The commit of a model's branch or tag (None: its main branch).

    Raises:
        BadInput: no such model or revision, or it is gated and nobody opened it.
        SourceError: the hub does not answer.
    """
    import httpx
    from huggingface_hub import HfApi
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, RepositoryNotFoundError

    asked = f"hf://{name}" + (f"@{revision}" if revision else "")
    try:
        found = HfApi().model_info(name, revision=revision, timeout=20.0)
    except GatedRepoError as error:
        raise BadInput(
            f"{asked}: the model is gated; accept its terms on the hub and set HF_TOKEN"
        ) from error
    except RepositoryNotFoundError as error:
        raise BadInput(
            f"{asked}: the hub shows no such model to who asks; look at the name, and set HF_TOKEN "
            "where it is private"
        ) from error
    except HfHubHTTPError as error:
        status = error.response.status_code if error.response is not None else 0
        if status == 404:
            raise BadInput(f"{asked}: the model has no such revision") from error
        raise SourceError(f"{asked}: the hub answered {status}") from error
    except (httpx.HTTPError, OSError) as error:
        raise SourceError(
            f"{asked}: the hub does not answer ({type(error).__name__}: {str(error)[:200]}); where "
            "it cannot be reached, set HF_ENDPOINT to a mirror, or HF_HUB_OFFLINE=1 to take what "
            "lies in the local cache"
        ) from error
    return str(found.sha)


def cached_folder(name: str, revision: str | None) -> Path:
    """The folder of the local cache that holds the revision, named by its commit.

    Raises:
        BadInput: the cache has it not.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, revision=revision, local_files_only=True))
    except LocalEntryNotFoundError as error:
        raise BadInput(
            f"hf://{name}{f'@{revision}' if revision else ''}: the local cache has it not, and the "
            "hub is not asked (HF_HUB_OFFLINE); fetch it where the hub can be reached: "
            f"hf download {name}"
        ) from error


def _words(error: BaseException) -> str:
    """The first line of an error, and of the one that began it."""
    root = error
    while root.__cause__ is not None:
        root = root.__cause__
    lines = [(str(one).splitlines() or [type(one).__name__])[0][:300] for one in (error, root)]
    return lines[0] if root is error else f"{lines[0]} <- {lines[1]}"
