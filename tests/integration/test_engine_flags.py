"""The table of refused flags against the flags of the vLLM that is installed."""

from __future__ import annotations

import re

import pytest

from optikit.engines._vllm_flags import _FLAGS
from optikit.engines._vllm_install import known_flags
from optikit.engines._vllm_refused import _ONLY, REFUSED
from optikit.engines.vllm import Vllm

pytestmark = pytest.mark.integration

_SUSPECT = re.compile(
    r"(^|-)(path|dir|file|keyfile|certfile|plugin|cls|class|port|host|addr|address|uds|url|hf-token"
    r"|key|keys|domains|origins|endpoint|server|middleware|trust|embeds|revision|template"
    r"|modules|ssl|grpc|profiler|transfer|events)(-|$)"
)
_LOOKED_AT = {
    "chat-template-content-format": "one of three words",
    "default-chat-template-kwargs": "values of template variables",
    "disable-access-log-for-endpoints": "what is left out of a log",
    "max-lora-cls-labels": "a number",
    "lora-target-modules": "names of the model's own layers",
    "uvicorn-log-level": "a word",
    "enable-server-load-tracking": "a figure at an address that is there anyway",
}
"""Suspect names that a job may set, and why."""


def test_every_flag_that_sounds_like_a_door_is_refused_or_was_looked_at() -> None:
    known = known_flags(Vllm().interpreter())
    assert len(known) > 100
    open_doors = {
        flag
        for flag in known
        if _SUSPECT.search(flag) and flag not in {*REFUSED, *_ONLY, *_LOOKED_AT, *_FLAGS.values()}
    }
    assert open_doors == set()


def test_the_table_names_flags_that_exist() -> None:
    known = known_flags(Vllm().interpreter())
    assert {*REFUSED, *_ONLY} - known == set()
