from __future__ import annotations

from pathlib import Path

from optikit.engines._vllm_install import flags_in

ENGINE = """
def add(parser):
    group.add_argument("--data-parallel-size", "-dp", **kwargs)
    group.add_argument(*names, f"--{name}")
    print("--not-a-flag")
"""
FRONTEND = """
class BaseFrontendArgs:
    chat_template: str | None = None

class FrontendArgs(BaseFrontendArgs):
    other = 1
    ssl_keyfile: str | None = None
    def f(self): ...

class Other:
    nothing: int = 1
"""


def write(package: Path, source: str, text: str) -> None:
    (package / source).parent.mkdir(parents=True, exist_ok=True)
    (package / source).write_text(text)


def test_flags_are_read_from_the_sources(tmp_path: Path) -> None:
    many = "".join(f'group.add_argument("--flag-{number}")\n' for number in range(100))
    write(tmp_path, "engine/arg_utils.py", ENGINE + many)
    write(tmp_path, "entrypoints/launchers/cli_args.py", FRONTEND)
    found = flags_in(tmp_path)
    assert {one for one in found if not one.startswith("flag-")} == {
        "data-parallel-size",
        "chat-template",
        "ssl-keyfile",
    }


def test_sources_of_another_layout_say_nothing(tmp_path: Path) -> None:
    assert flags_in(tmp_path) == frozenset()
    write(tmp_path, "engine/arg_utils.py", ENGINE)  # too few to be all of them
    write(tmp_path, "entrypoints/launchers/cli_args.py", "class FrontendArgs(:")
    assert flags_in(tmp_path) == frozenset()
