"""Weights in the page cache before the engine asks for them: most of a start is reading them."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

__all__ = ["read_ahead"]


def read_ahead(model: Path) -> int:
    """Ask the kernel to read a checkpoint's weights while the engine still imports; returns at
    once.

    What lies in the page cache already is not read again, so the trials of a job pay once. A file
    that cannot be opened is left to the engine, whose error says more.

    Returns:
        Bytes that were asked for.
    """
    asked = 0
    for file in sorted(model.glob("*.safetensors")):
        with contextlib.suppress(OSError):
            descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
            try:
                size = os.fstat(descriptor).st_size
                os.posix_fadvise(descriptor, 0, size, os.POSIX_FADV_WILLNEED)
                asked += size
            finally:
                os.close(descriptor)
    return asked
