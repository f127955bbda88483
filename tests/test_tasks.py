"""Just one task must fit the columns, unless the user names one; what is unclear is asked, not guessed."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest

from cutler import data, registry, tasks
from cutler.cli import given
from cutler.errors import UsageError
from cutler.types import Answer, Table

SHARED = Path(__file__).parent.parent.parent / "shared" / "data"
WORDS = ("the", "a", "cat", "dog", "sat", "ran", "on", "under", "mat", "log", "big", "red")
TEXTS = [" ".join(random.Random(i).choices(WORDS, k=8)) for i in range(60)]
MARKS = [" ".join(random.Random(i).choices(("O", "B-cat", "B-dog"), k=8)) for i in range(60)]
ONE, SEVERAL, NUMBER = "text_classification", "multi_label_classification", "text_regression"
TAGS = "token_classification"


def table(**columns) -> Table:
    """A table of 60 rows; a column is given by its first cells, which are repeated."""
    return Table(
        "t.csv", {"train": [{name: cells[i % len(cells)] for name, cells in columns.items()} for i in range(60)]}
    )


def chosen(found, **asked):
    task = tasks.choose(found, **asked)
    return task.name, task.columns


MANY = [str(i / 7) for i in range(60)]
CLEAR = {
    "by name": (table(text=TEXTS, label=["x", "y"]), ONE, ["text", "label"]),
    "synonyms": (table(Body=TEXTS, Category=["x", "y"]), ONE, ["Body", "Category"]),
    "intent": (table(utterance=TEXTS, intent=["x", "y"]), ONE, ["utterance", "intent"]),
    "docstrings": (table(docstring=TEXTS, topic=["x", "y"]), ONE, ["docstring", "topic"]),
    "content": (table(id=list(range(60)), Mail=TEXTS, Kind=["x", "y", "z"]), ONE, ["Mail", "Kind"]),
    "spelt numbers for classes": (table(text=TEXTS, label=["0", "1", "2"]), ONE, ["text", "label"]),
    "numbers for classes": (table(text=TEXTS, label=[0, 1]), ONE, ["text", "label"]),
    "booleans": (table(text=TEXTS, label=[True, False]), ONE, ["text", "label"]),
    "label beside its name": (table(text=TEXTS, label=[0, 1], label_text=["no", "yes"]), ONE, ["text", "label"]),
    "tags of one word": (table(text=TEXTS, tags=["x", "y"]), ONE, ["text", "tags"]),
    "lists": (table(text=TEXTS, labels=[["x"], [], ["x", "y"]]), SEVERAL, ["text", "labels"]),
    "lists under label": (table(text=TEXTS, label=[["x"], ["y"]]), SEVERAL, ["text", "label"]),
    "spelt lists": (table(plot=TEXTS, genres=["x|y", "y"]), SEVERAL, ["plot", "genres"]),
    "score": (table(text=TEXTS, score=["1.5", "2", "3"]), NUMBER, ["text", "score"]),
    "stars": (table(review=TEXTS, stars=[1, 2, 3, 4, 5]), NUMBER, ["review", "stars"]),
    "label with many numbers": (table(text=TEXTS, label=MANY), NUMBER, ["text", "label"]),
    "numbers by content": (table(text=TEXTS, minutes=MANY), NUMBER, ["text", "minutes"]),
    "words and tags": (table(tokens=[["a", "b"], ["c"]], tags=[["O", "B-x"], ["O"]]), TAGS, ["tokens", "tags"]),
    "spelt words": (table(words=TEXTS, ner_tags=MARKS), TAGS, ["words", "ner_tags"]),
    "pair": (
        table(premise=TEXTS, hypothesis=TEXTS[::-1], label=["x", "y"]),
        "text_pair_classification", ["premise", "hypothesis", "label"],
    ),
    "pair with score": (
        table(sentence1=TEXTS, sentence2=TEXTS[::-1], similarity=MANY),
        "text_pair_regression", ["sentence1", "sentence2", "similarity"],
    ),
}  # fmt: skip


@pytest.mark.parametrize(("found", "name", "columns"), CLEAR.values(), ids=CLEAR)
def test_the_task_is_told_by_the_columns(found, name, columns):
    assert chosen(found) == (name, dict(zip(registry.task(name).roles, columns, strict=True)))


UNCLEAR = {
    "label and score": (
        table(text=TEXTS, label=["x", "y"], score=MANY),
        ["text_classification", "text_regression", "--task"],
    ),
    "two categories": (table(text=TEXTS, Kind=["x", "y"], Mood=["u", "v"]), ["Kind and Mood", "--column label=Kind"]),
    "text alone": (table(text=TEXTS), ["the columns text", "--column label=NAME"]),
    "label alone": (table(label=["x", "y"]), ["the columns label", "--column text=NAME"]),
    "an empty column": (table(text=TEXTS, label=["", None]), ["the columns text, label; 'label' holds nothing"]),
    "two columns of tags": (table(tokens=[["a", "b"]], ner_tags=[["O", "B-x"]], pos_tags=[["N", "V"]]),
                            ["tokens, ner_tags, pos_tags", "--column tags=NAME"]),
    "translations": (table(source=TEXTS, target=TEXTS[::-1]), ["source, target"]),
}


@pytest.mark.parametrize(("found", "said"), UNCLEAR.values(), ids=UNCLEAR)
def test_what_is_unclear_is_asked_with_the_columns_found(found, said):
    with pytest.raises(UsageError) as error:
        tasks.choose(found)
    assert [part for part in [*said, "t.csv"] if part not in str(error.value)] == []


def test_columns_that_the_user_names_win():
    found = table(Body=TEXTS, title=TEXTS[::-1], Kind=["x", "y"], Mood=["u", "v"], text=["short", "other"])
    assert chosen(found, columns={"text": "Body", "label": "Mood"})[1] == {"text": "Body", "label": "Mood"}
    assert chosen(found, columns={"label": "Kind"})[1]["label"] == "Kind"
    assert (
        chosen(table(a=TEXTS, b=TEXTS, c=["x", "y"]), columns={"text": "a", "text_pair": "b"})[0]
        == "text_pair_classification"
    )
    assert chosen(table(text=TEXTS, label=["x", "y"], n=MANY), columns={"score": "n"}) == (
        "text_regression", {"text": "text", "score": "n"},
    )  # fmt: skip


def test_columns_named_in_full_need_no_recognising():
    found = Table("t", {"train": [{"a": "ok", "b": str(i)} for i in range(10)]})
    assert chosen(found, columns={"text": "a", "label": "b"})[0] == "text_classification"


def test_a_task_that_the_user_names_wins():
    found = table(text=TEXTS, label=["1", "2"], score=MANY)
    assert chosen(found, name="text_classification")[1] == {"text": "text", "label": "label"}
    assert chosen(found, name="text_regression")[1] == {"text": "text", "score": "score"}
    assert chosen(found, name="text_regression", columns={"label": "label"})[1] == {"text": "text", "score": "label"}
    assert chosen(table(text=TEXTS, label=["1", "2"]), name="text_regression")[1] == {"text": "text", "score": "label"}
    assert chosen(table(text=TEXTS, tags=["x", "y"]), name="multi_label_classification")[1] == {
        "text": "text",
        "labels": "tags",
    }


WRONG = {
    "unknown task": ({"name": "text_clasification"}, "text_classification"),
    "unknown role": ({"columns": {"txt": "text"}}, "'text'"),
    "unknown column": ({"columns": {"label": "lable"}}, "columns text, label.*'label'"),
    "unknown metric": ({"metric": "acuracy"}, "accuracy"),
    "metric of another head": ({"metric": "rmse"}, "accuracy"),
    "metric of an unknown label": ({"metric": "recall:z"}, "x, y"),
    "no second text": ({"name": "text_pair_classification"}, "text_pair=NAME"),
    "no numbers": ({"name": "text_regression"}, "score=NAME"),
}


@pytest.mark.parametrize(("asked", "said"), WRONG.values(), ids=WRONG)
def test_wrong_names_are_refused_with_the_right_ones(asked, said):
    with pytest.raises(UsageError, match=said):
        tasks.choose(table(text=TEXTS, label=["x", "y"]), **asked)


def test_a_metric_of_a_label_may_be_the_primary_one():
    task = tasks.choose(table(text=TEXTS, label=["x", "y"]), metric="recall:x")
    assert task.measure(["x", "x", "y"], ["x", "y", "y"])["recall:x"] == 0.5
    assert task.score(["x", "x", "y"], ["x", "y", "y"]) == 0.5


CELLS = [
    (ONE, " 007 ", "007"), (ONE, True, "true"), (ONE, 3, "3"), (ONE, 1.0, "1.0"), (ONE, "1.0", "1.0"),
    (SEVERAL, ["b", "a", "b"], ("a", "b")), (SEVERAL, [], ()),
    (SEVERAL, "b|a, c", ("a, c", "b")), (SEVERAL, "b; a;", ("a", "b")),
    (SEVERAL, "a, b", ("a", "b")), (SEVERAL, '["a, c", "b"]', ("a, c", "b")),
    (SEVERAL, "['b', 'a']", ("a", "b")), (SEVERAL, "[]", ()),
    (SEVERAL, np.array(["b", "a"]), ("a", "b")), (SEVERAL, [1, 0], ("0", "1")),
    (NUMBER, " 1.5 ", 1.5), (NUMBER, 2, 2.0), (NUMBER, "1e3", 1000.0),
]  # fmt: skip


@pytest.mark.parametrize(("name", "cell", "target"), CELLS)
def test_cells_are_read_as_targets(name, cell, target):
    assert registry.task(name)().parse_target(cell) == target


EMPTY = [
    (ONE, None, "no label"), (ONE, " ", "no label"),
    (ONE, "\ud800x", "surrogate"), (ONE, ["a"], "a list"), (ONE, "NaN", "no label: NaN"), (SEVERAL, None, "no label"),
    (SEVERAL, "", "no label"), (SEVERAL, [["a"]], "a list"),
    (NUMBER, None, "no number"), (NUMBER, "", "no number"),
    (NUMBER, "3,5", "not a number: 3,5"), (NUMBER, "nan", "not a number"),
    (NUMBER, "inf", "not a number"), (NUMBER, True, "not a number"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "cell", "reason"), EMPTY)
def test_cells_without_a_target_say_why(name, cell, reason):
    with pytest.raises(ValueError, match=reason):
        registry.task(name)().parse_target(cell)


def test_rmse_as_the_primary_metric_becomes_a_skill():
    task = registry.task("text_regression")(metric="rmse")
    targets = [1.0, 2.0, 3.0, 6.0]
    assert task.score(targets, targets) == 1
    assert task.score(targets, [3.0] * 4) == pytest.approx(0)
    assert task.measure(targets, [3.0] * 4)["rmse"] == pytest.approx(np.std(targets))
    assert task.score([2.0, 2.0], [2.0, 2.0]) == 1


def test_answers_are_measured_with_or_without_their_probability():
    task = registry.task("text_classification")()
    assert task.measure(["a", "b"], [Answer("a", 0.9), Answer("a", 0.6)]) == task.measure(["a", "b"], ["a", "a"])
    assert task.score(["a", "b"], ["a", "a"]) == 0.5


def test_resampling_once_with_equal_weights_is_the_score():
    task = registry.task("multi_label_classification")()
    targets, answers = [("a",), ("a", "b"), ()], [("a",), ("b",), ("a",)]
    weights = np.ones((2, 3), np.uint8)
    assert task.resampled(targets, answers, weights).tolist() == [task.score(targets, answers)] * 2
    assert set(task.measure(targets, answers)) == {"micro_f1", "macro_f1"}


@pytest.mark.parametrize("name", registry.names("tasks"))
def test_every_task_is_named_by_its_file_and_ends_in_its_target(name):
    kind = registry.task(name)
    task = kind()
    assert (kind.name, task.metric) == (name, kind.metrics[0])
    first = "columns" if name.startswith("tabular") else task.inputs[0]
    assert first in ("text", "tokens", "source", "prompt", "columns", "question", "query")
    assert task.target in ("label", "labels", "score", "tags", "target", "completion", "answers", "relevant")


REAL = {
    "trec6": "text_classification", "banking77": "text_classification", "airline-tweets": "text_classification",
    "goemotions": "multi_label_classification", "mrpc": "text_pair_classification", "stsb": "text_pair_regression",
    "wnut17": "token_classification", "ud-lines-pos": "token_classification", "policyqa": "question_answering",
    "multi30k-en-de": "translation", "scitldr": "summarization", "e2e-nlg": "text_generation",
}  # fmt: skip


@pytest.mark.parametrize("folder", [*REAL, "sick"])
def test_real_folders_are_recognised_or_refused(folder):
    if not (SHARED / folder).is_dir():
        pytest.skip(f"{SHARED / folder} is not there")
    found = data.read(SHARED / folder)
    if folder in REAL:
        assert tasks.choose(found).name == REAL[folder]
    else:
        with pytest.raises(UsageError):
            tasks.choose(found)


@pytest.mark.parametrize("task", registry.tasks(), ids=lambda task: task.name)
def test_the_only_input_of_a_task_may_be_called_text(task):
    asked, several = task({role: f"{role} here" for role in task.roles}), len(task.roles) > 2
    assert data.text_role(asked) == (None if several or len(task.roles) < 2 else task.roles[0])
    if data.text_role(asked):
        assert given.is_table(b"text", asked)
        (row,) = data.keyed([{"text": "hello there"}], asked)
        assert row == {task.roles[0]: "hello there"}
