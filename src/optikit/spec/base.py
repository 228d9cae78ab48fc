"""The base of every spec: frozen data, no unknown keys, errors that name the path of the key."""

from __future__ import annotations

import difflib
import re
import typing
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, GetJsonSchemaHandler, ValidationError
from pydantic_core import CoreSchema

from optikit.errors import SpecError
from optikit.spec._html import facts


class Spec(BaseModel):
    """Frozen, hashable by content, and strict about keys."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        validate_default=True,
        allow_inf_nan=False,
        protected_namespaces=(),
        populate_by_name=True,
    )

    @classmethod
    def json_forms(cls, fields: dict[str, Any]) -> tuple[dict[str, Any], ...]:
        """JSON Schemas of what a person may write in the place of a mapping of the fields.

        Args:
            fields: the mapping's own schema, which may be corrected.
        """
        return ()

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        """The fields, or one of the shorter forms where there are some."""
        found = handler(schema)
        plain = handler.resolve_ref_schema(found)
        fields = dict(plain)
        forms = cls.json_forms(fields) if handler.mode == "validation" else ()
        if forms:
            plain.clear()
            plain |= {"description": fields.pop("description", ""), "anyOf": [*forms, fields]}
        return found

    def _repr_html_(self) -> str:
        """In a notebook: a table of the fields that are set."""
        return facts(type(self).__name__, self.model_dump(mode="json", exclude_none=True))

    @classmethod
    def parse(cls, data: Any, what: str = "") -> Self:
        """``data`` as this spec.

        Args:
            data: a mapping of plain values, or an instance.
            what: where the data came from, for the message (a file name).

        Raises:
            SpecError: every problem found, one a line, each with the path of its key.
        """
        try:
            return cls.model_validate(data)
        except ValidationError as error:
            raise spec_error(cls, error, what) from None
        except SpecError as error:
            raise SpecError(f"{what}: {error}" if what else str(error)) from None


_TAGS = ("bound", "goodput")
"""What pydantic adds to the path of a bound: which kind of bound it took it for."""


def spec_error(model: type[BaseModel], error: ValidationError, what: str = "") -> SpecError:
    """Pydantic's report in our words."""
    where = f" in {what}" if what else ""
    lines = [_line(model, problem) for problem in error.errors(include_url=False)]
    return SpecError(f"{model.__name__}{where}: " + "; ".join(lines))


def _line(root: type[BaseModel], problem: Any) -> str:
    path = ".".join(str(part) for part in problem["loc"] if part not in _TAGS) or "(whole)"
    if problem["type"] == "extra_forbidden":
        known = _fields_at(root, problem["loc"][:-1])
        wrong = str(problem["loc"][-1])
        close = difflib.get_close_matches(wrong, known, n=1, cutoff=0.5)
        hint = f"did you mean '{close[0]}'?" if close else f"known keys: {', '.join(sorted(known))}"
        return f"unknown key '{path}', {hint}"
    if problem["type"] == "invalid_key":
        keys = ", ".join(sorted(_fields_at(root, problem["loc"][:-1])))
        return f"key '{path}' is no word but {type(problem['input']).__name__}; known keys: {keys}"
    if problem["type"] == "missing":
        return f"'{path}' is missing"
    message = problem["msg"].removeprefix("Value error, ")
    found = problem.get("input")
    # a URL is shown as far as its scheme: what stands behind it may be a password
    said = re.sub(r"(?<=://)\S+", "...", found) if isinstance(found, str) else found
    shown = "" if isinstance(found, dict | list) else f" (found {said!r:.80})"
    return f"'{path}': {message}{shown}"


def _fields_at(root: type[BaseModel], loc: tuple[Any, ...]) -> list[str]:
    """Names of the fields of the model that ``loc`` leads to."""
    model: type[BaseModel] | None = root
    for part in loc:
        field = model.model_fields.get(part) if model and isinstance(part, str) else None
        if field is None:
            continue  # a list index, or a tag that pydantic adds for unions
        model = _model_in(field.annotation)
    return list(model.model_fields) if model else []


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for inner in typing.get_args(annotation):
        found = _model_in(inner)
        if found is not None:
            return found
    return None
