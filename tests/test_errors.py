"""Every raise in the package: one of our errors, with what was expected, what was found and what to do."""

from __future__ import annotations

import ast
import pickle
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from cutler import errors

ROOT = Path(__file__).parent.parent
OURS = {
    name for name, kind in vars(errors).items()
    if isinstance(kind, type) and issubclass(kind, errors.CutlerError)
}  # fmt: skip
PLAIN = ("no ", "none", "nothing", "neither", "it is not installed", "an empty", "one class")
"""How a `found` starts that is the same each time, because there is no value to show."""

OTHERS = {
    "AttributeError": "Python asks it of __getattr__",
    "Stopped": "the signal that ends a trial, not an error; its argument is the reason kept in the record",
    "Exit": "the command line's way to end with an exit code",
    "TemplateError": "what a chat template says of messages; it is caught where the template is filled in",
    "KeyboardInterrupt": "Ctrl-C goes on as Python itself would raise it",
}
READING_TARGETS = {"judgements_in", "parse_target", "as_label", "as_labels", "as_number", "as_tags", "as_text",
                   "as_answers", "_from_columns", "_placed", "settled"}  # fmt: skip
"""types.Task says that parse_target raises ValueError with the reason, which becomes that of the row set aside."""


@dataclass(frozen=True)
class Raise:
    path: Path
    function: str
    node: ast.Raise

    def __str__(self) -> str:
        return f"{self.path.relative_to(ROOT)}:{self.node.lineno} {ast.unparse(self.node)}"


def walk(node: ast.AST, function: str = "") -> Iterator[tuple[str, ast.AST]]:
    for child in ast.iter_child_nodes(node):
        inside = child.name if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef) else function
        yield inside, child
        yield from walk(child, inside)


TREES = {path: ast.parse(path.read_text("utf-8")) for path in sorted((ROOT / "cutler").rglob("*.py"))}
RAISES = [
    Raise(path, function, node)
    for path, tree in TREES.items()
    for function, node in walk(tree)
    if isinstance(node, ast.Raise)
]


def last_name(node: ast.expr) -> str:
    return ast.unparse(node).rsplit(".", 1)[-1]


NODES = [(path, node) for path, tree in TREES.items() for node in ast.walk(tree)]
DERIVED = {
    node.name for _, node in NODES
    if isinstance(node, ast.ClassDef) and any(last_name(base) in OURS for base in node.bases)
}  # fmt: skip
ERRORS = OURS | DERIVED
MAKERS = {
    node.name for _, node in NODES
    if isinstance(node, ast.FunctionDef) and node.returns and last_name(node.returns) in ERRORS
}  # fmt: skip
"""Functions that return one of our errors, to be raised by their caller."""



def is_allowed(found: Raise) -> bool:
    raised = found.node.exc
    if raised is None or isinstance(raised, ast.Name) and raised.id[0].islower():
        return True  # what was caught goes on
    name = last_name(raised.func) if isinstance(raised, ast.Call) else last_name(raised)
    ours = isinstance(raised, ast.Call) and name in ERRORS | MAKERS
    return ours or name in OTHERS or name == "ValueError" and found.function in READING_TARGETS


MADE = [
    (f"{path.relative_to(ROOT)}:{node.lineno} {ast.unparse(node)}", node)
    for path, node in NODES
    if isinstance(node, ast.Call) and last_name(node.func) in ERRORS
]


def shows_a_value(found: ast.expr) -> bool:
    if isinstance(found, ast.IfExp):
        return shows_a_value(found.body) and shows_a_value(found.orelse)
    if isinstance(found, ast.Constant):
        return str(found.value).lower().startswith(PLAIN)
    return True


def test_every_raise_is_one_of_ours():
    assert RAISES
    assert not [str(found) for found in RAISES if not is_allowed(found)]


def test_every_error_has_its_three_parts():
    lacking = [
        where for where, call in MADE
        if len(call.args) != 1 or {word.arg for word in call.keywords} != {"found", "do"}
    ]  # fmt: skip
    assert not lacking


def test_every_error_shows_the_value_found():
    silent = [
        where for where, call in MADE
        for word in call.keywords if word.arg == "found" and not shows_a_value(word.value)
    ]  # fmt: skip
    assert not silent


def test_no_part_of_an_error_is_empty():
    empty = [
        where for where, call in MADE
        for part in [*call.args, *(word.value for word in call.keywords)]
        if isinstance(part, ast.Constant) and not str(part.value).strip()
    ]  # fmt: skip
    assert not empty


def test_only_trials_catch_whatever_they_die_of():
    bare = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path, node in NODES
        if isinstance(node, ast.ExceptHandler)
        and (node.type is None or ast.unparse(node.type) in {"Exception", "BaseException"})
        and path.parent.name != "search"  # one candidate's end is kept as its reason, and the others go on
    ]
    assert not bare


@pytest.mark.parametrize("kind", sorted(OURS))
def test_an_error_says_expected_found_do_and_survives_a_process_boundary(kind):
    error = getattr(errors, kind)("a number", found="'ten'", do="write 10")
    assert str(error) == "Expected a number. Found 'ten'. Write 10."
    back = pickle.loads(pickle.dumps(error))
    assert (type(back), str(back), back.exit_code) == (type(error), str(error), error.exit_code)


def test_the_nearest_known_name_is_suggested():
    assert errors.nearest("linera", ["linear", "frozen"]) == "did you mean 'linear'?"
    assert errors.nearest("x", ["linear", "frozen"]) == "choose one of: frozen, linear"
