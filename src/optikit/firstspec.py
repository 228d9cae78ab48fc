"""A first job spec for a model folder, a registered model or a shape that ships."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path

from optikit import __version__
from optikit.adapters.hardware import cpu_dtype, hardware
from optikit.core.spectext import spec_text
from optikit.core.suggest import Known, Suggestion, suggest
from optikit.engines import ENGINES
from optikit.engines.base import Engine
from optikit.errors import BadInput, EngineError, UnknownName, nearest
from optikit.flows import FLOWS
from optikit.recipes import RECIPES
from optikit.spec.job import DatasetStorage, ModelStorage, OptimizationJob
from optikit.spec.model import ModelShape
from optikit.spec.recipe import RecipeFacts
from optikit.spec.sku import ResourceSKU
from optikit.specfile import parse_mapping
from optikit.stores._folder import DATASET_SUFFIXES, dataset_files, model_files
from optikit.stores._rows import rows_of
from optikit.stores.base import RegisteredModel
from optikit.stores.file import FileModelStore
from optikit.stores.shapes import shape_of_folder, shipped_names, shipped_shape

__all__ = ["FirstSpec", "first_spec"]

_REAL, _ON_PAPER = "vllm", "simulated"
_LONGEST_NAME = 100
_MOST_ROWS = 4096
_HUB_CACHE = re.compile(r"models--.+?--(?P<name>.+)")
"""Folder of a model in the Hugging Face hub's cache; its snapshots are named by a commit."""


@dataclass(frozen=True)
class FirstSpec:
    """The text of a spec, and what it says."""

    text: str
    suggestion: Suggestion


@dataclass(frozen=True)
class _Model:
    """What the user named."""

    storage: ModelStorage
    shape: ModelShape
    folder: Path | None
    """None: a shape without weights."""
    what: str


def first_spec(
    what: str,
    home: Path,
    *,
    file: str = "job.yaml",
    engine: str | None = None,
    sku: str | None = None,
    dataset: str | None = None,
    prompt_tokens: int | None = None,
    output_tokens: int | None = None,
    quick: bool = False,
) -> FirstSpec:
    """A commented spec that can be planned as it is. Nothing is written, nothing needs a GPU.

    Args:
        what: a model folder, NAME or NAME:VERSION of the registry (no version: the newest), or the
            name of a shape that ships.
        home: where the registry is.
        file: name of the file that the text is for.
        engine: None: vLLM, or where there are no weights the simulated one.
        sku: None: the smallest that holds the model, one of this machine's where it has one.
        quick: a first try: so little is measured that the rate is preliminary.

    Raises:
        UnknownName: no such model, engine or SKU.
        UnsafeInput: pickle weights or code in the folder.
        DoesNotFit: the model or the workload stands on no SKU, or not on the one asked for.
        BadInput: no model folder, or weights that a real engine needs are missing.
    """
    model = _found(what, home)
    if engine is not None:
        ENGINES.check(engine)
    chosen = engine or (_REAL if model.folder is not None and _weights(model.folder) else _ON_PAPER)
    loaded = ENGINES.load(chosen)
    if not loaded.facts.simulated:
        if model.folder is None:
            raise BadInput(
                f"{what} is a shape that ships with OptiKIT, without weights, so {chosen} has "
                "nothing to serve; give a model folder, or --engine simulated"
            )
        model_files(model.folder)  # refuses what fetch would refuse
    texts = _dataset(dataset)
    flows = {name: FLOWS.load(name) for name in ("quantize_and_tune", "tune")}
    suggestion = suggest(
        Known(
            model=model.storage,
            shape=model.shape,
            engine=loaded.facts,
            engine_version=_version(loaded),
            recipes=_recipes(),
            flows=flows,
            gpus=[value for key, value in hardware().items() if key.startswith("gpu")],
            cpu_dtype=cpu_dtype(),
            dataset=texts,
            dataset_rows=_rows(texts),
            sku=_sku(sku),
            prompt_tokens=prompt_tokens,
            output_tokens=output_tokens,
            quick=quick,
        )
    )
    text = spec_text(suggestion, _about(model, chosen, engine is not None), file, __version__)
    job = OptimizationJob.parse(parse_mapping(text.encode(), "job spec", file), file)
    if job != suggestion.job:
        raise BadInput(
            f"{what}: its name or path has characters that a YAML file does not give back; rename "
            "the folder"
        )
    return FirstSpec(text, suggestion)


def _found(what: str, home: Path) -> _Model:
    """A folder comes before a name of the registry, that before a shape that ships."""
    folder = Path(what).expanduser()
    if folder.is_dir() or folder.name != what:
        folder = folder.absolute()
        shape = shape_of_folder(folder)
        storage = ModelStorage(name=_name_of(folder), uri=folder.as_uri())
        return _Model(storage, shape, folder, "Taken from this folder by every run")
    store = FileModelStore(home)
    registered = store.list()
    name, _, version = what.partition(":")
    mine = [model for model in registered if model.name == name]
    if mine:
        model = store.find(name, version) if version else mine[-1]
        shape = shape_of_folder(Path(store.find(model.name, model.version).path))
        storage = ModelStorage(name=model.name, version=model.version)
        return _Model(storage, shape, Path(model.path), _of_registry(model, mine))
    shipped = shipped_shape(what)
    if shipped is not None:
        return _Model(ModelStorage(name=what), shipped, None, "A shape that ships with OptiKIT")
    known = {model.name for model in registered} | set(shipped_names())
    raise UnknownName(
        f"{what!r} is no folder here, no registered model and no shape that ships; "
        f"{nearest(what, known)}. Give the path of a model folder in Hugging Face format"
    )


def _of_registry(model: RegisteredModel, all_of_it: list[RegisteredModel]) -> str:
    newest = " (the newest)" if len(all_of_it) > 1 and model == all_of_it[-1] else ""
    return f"Version {model.version}{newest} of the registry, {model.digest[:19]}..."


def _about(model: _Model, engine: str, asked: bool) -> str:
    """What was found, and what follows from it for the engine."""
    if asked or engine == _REAL:
        return model.what
    return (
        f"{model.what}. There are no weights, so the engine is simulated: whole jobs in virtual "
        "time, every figure labelled SIMULATED"
    )


def _weights(folder: Path) -> bool:
    """Whether a folder holds any: safe ones, or such as are refused with a reason."""
    return any(path.suffix in (".safetensors", ".bin", ".pt", ".pth") for path in folder.iterdir())


def _name_of(folder: Path) -> str:
    """A name for a model of a folder.

    >>> _name_of(Path("/m/Llama 3 (8B)")), _name_of(Path("/c/models--a--tiny/snapshots/0f"))
    ('Llama-3-8B', 'tiny')
    """
    cached = _HUB_CACHE.fullmatch(folder.parent.parent.name)
    word = cached["name"] if cached and folder.parent.name == "snapshots" else folder.resolve().name
    clean = re.sub(r"[^A-Za-z0-9._+-]+", "-", word).strip("-._+")[:_LONGEST_NAME]
    return clean or "model"


def _recipes() -> list[RecipeFacts]:
    """Facts of every recipe; one of another package that cannot be imported is left out."""
    found = []
    for name in RECIPES.names():
        try:
            found.append(RECIPES.load(name).facts)
        except (ImportError, AttributeError):
            continue
    return found


def _sku(asked: str | None) -> ResourceSKU | None:
    if asked is None:
        return None
    if asked not in ResourceSKU.__members__:
        raise UnknownName(f"unknown SKU {asked!r}; {nearest(asked, ResourceSKU.__members__)}")
    return ResourceSKU(asked)


def _dataset(path: str | None) -> DatasetStorage | None:
    if path is None:
        return None
    if "://" not in path:
        place = Path(path).expanduser().absolute()
        if not place.exists():
            raise BadInput(f"--dataset {path}: nothing is there; give a folder or file of texts")
        if place.is_file() and place.suffix not in DATASET_SUFFIXES:
            raise BadInput(
                f"--dataset {path}: no file of {', '.join(sorted(DATASET_SUFFIXES))}; give one, "
                "or a folder of them"
            )
        path = str(place)
    return DatasetStorage(path=path)


def _rows(dataset: DatasetStorage | None) -> int | None:
    """Rows of a dataset of this machine, counted as far as a recipe could want them."""
    if dataset is None or "://" in dataset.path:
        return None
    path = Path(dataset.path)
    files = [path / name for name in dataset_files(path)] if path.is_dir() else [path]
    count = sum(1 for _ in islice(chain.from_iterable(map(rows_of, files)), _MOST_ROWS))
    if count == 0:
        raise BadInput(f"--dataset {path}: it has no rows; give texts to calibrate on")
    return count


def _version(engine: Engine) -> str | None:
    """None where the engine's environment is missing: a plan needs none."""
    try:
        return engine.version()
    except EngineError:
        return None
