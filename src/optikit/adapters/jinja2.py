"""The only importer of Jinja2: reports are rendered with it, and chat templates and task files of
strangers are, in its sandbox."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from optikit.errors import OptikitError

__all__ = ["page_templates", "sandbox", "template_error"]


def page_templates(folder: Path) -> Any:
    """Our own templates; what is filled into ``.html.j2`` is escaped, a name too few is an error.

    Raises:
        OptikitError: Jinja2 is not installed.
    """
    try:
        import jinja2
    except ModuleNotFoundError:
        raise OptikitError(
            "a report needs jinja2, which is not installed: pip install 'optikit[report]'; "
            "--format json needs nothing"
        ) from None
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder),
        autoescape=jinja2.select_autoescape(("html.j2",)),
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
    )


def sandbox(plain: Any) -> Any:
    """An environment like ``plain``, for templates that are data: they may not reach Python's
    inside."""
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    guarded = ImmutableSandboxedEnvironment(
        loader=plain.loader,
        undefined=plain.undefined,
        keep_trailing_newline=plain.keep_trailing_newline,
    )
    guarded.filters.update(plain.filters)
    return guarded


def template_error() -> type[Exception]:
    """What a template raises that cannot be read or filled."""
    from jinja2 import TemplateError

    return TemplateError
