"""What the README says of the package and the command line is so."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

import pytest
from typer.main import get_command

from cutler.cli import app

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text("utf-8")
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
UNLISTED = {"py.typed"}  # a marker for type checkers


def tree() -> dict[str, str]:
    """Path below cutler/ -> its comment, as the README lists them."""
    block = README.split("```text\ncutler/\n")[1].split("```")[0]
    found, folder = {}, ""
    for line in block.splitlines():
        indent, name, comment = re.fullmatch(r"( +)(\S+) *(.*)", line).groups()
        folder = "" if len(indent) == 2 else folder
        found[(folder + name).rstrip("/")] = comment
        folder = name if name.endswith("/") else folder
    return found


def package() -> set[str]:
    """Files and folders of the package; a folder's own __init__ stands for the folder."""
    home = ROOT / "cutler"
    files = {path.relative_to(home) for path in home.rglob("*") if path.is_file() and "__pycache__" not in path.parts}
    shown = {file.parent if file.name == "__init__.py" and len(file.parts) > 1 else file for file in files}
    return {path.as_posix() for path in shown} - UNLISTED


def test_the_tree_is_the_folder():
    assert set(tree()) == package()


def test_every_line_of_the_tree_says_what_the_file_is_for():
    assert not [name for name, comment in tree().items() if len(comment.split()) < 2]


def commands() -> list[str]:
    blocks = re.findall(r"```sh\n(.*?)```", "".join(path.read_text("utf-8") for path in DOCUMENTS), re.DOTALL)
    inline = re.findall(r"`(cutler \w[^`]*)`", "".join(path.read_text("utf-8") for path in DOCUMENTS))
    return sorted({line for line in "\n".join([*blocks, *inline]).splitlines() if re.search(r"(^|\| )cutler \w", line)})


@pytest.mark.parametrize("line", commands())
def test_every_command_that_is_shown_exists_with_its_flags(line):
    name, *rest = shlex.split(line.split("cutler ", 1)[1], comments=True)
    known = get_command(app).commands
    assert name in known
    flags = {flag for parameter in known[name].params for flag in parameter.opts}
    assert {word.partition("=")[0] for word in rest if word.startswith("--")} <= flags


def test_the_two_commands_are_in_the_makefile():
    for goal in re.findall(r"(?<=`)make (\w+)|^make (\w+)", README, re.MULTILINE):
        subprocess.run(["make", "-n", "".join(goal)], cwd=ROOT, check=True, capture_output=True)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_link_leads_to_a_file(document):
    links = re.findall(r"\]\((?!http)([^)#]+)", document.read_text("utf-8"))
    assert not [link for link in links if not (document.parent / link).exists()]
