"""Answers that stand in a text: how rows spell them, how they are found in windows, chosen and judged."""

from __future__ import annotations

import csv
import json
import logging
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from cutler import calibrate, catalog, data, evaluate, registry, tasks, testing
from cutler.errors import DataError, UsageError
from cutler.families import _spans
from cutler.families.encoder import recipe_of
from cutler.metrics import spans
from cutler.models import body
from cutler.models.passages import passages
from cutler.models.pointing import Choosing, point, said
from cutler.models.sentences import possible
from cutler.search.trials import _frozen
from cutler.types import Answer, Fold, Table

QA = "question_answering"
CONTEXT = "Please refund the payment. The parcel never arrived, and the parcel was dear. My account is locked."


def asked(cell, context=CONTEXT):
    """The row that is kept of a cell of answers, and the reason where it is set aside."""
    task = registry.task(QA)()
    used, aside = data.labelled([{"question": "what?", "context": context, "answers": cell}], task, part="train")
    return (used[0]["answers"] if used else None), (aside[0].reason if aside else "")


REFUND = (("refund the payment", 7, 25),)
SPELT = {
    "a list of text and start": [{"text": "refund the payment", "start": 7}],
    "squad": {"text": ["refund the payment"], "answer_start": [7]},
    "squad twice the same": {"text": ["refund the payment"] * 2, "answer_start": [7, 7]},
    "json in a csv": json.dumps([{"text": "refund the payment", "start": 7}]),
    "python in a csv": str({"text": ["refund the payment"], "answer_start": [7]}),
    "a plain text": "refund the payment",
    "a text with space around": " refund the payment\n",
    "its own target after JSON": json.loads(json.dumps(REFUND)),
}


@pytest.mark.parametrize("cell", SPELT.values(), ids=SPELT)
def test_answers_are_read_however_a_row_spells_them(cell):
    assert asked(cell) == (REFUND, "")


def test_a_plain_text_is_an_answer_wherever_it_stands():
    assert [start for _, start, _ in asked("parcel")[0]] == [31, 61]


@pytest.mark.parametrize("cell", [[], {"text": [], "answer_start": []}, "[]"])
def test_an_empty_list_says_that_there_is_no_answer(cell):
    assert asked(cell) == ((), "")


@pytest.mark.parametrize(("cell", "reason"), [
    ([{"text": "the moon", "start": 3}], "an answer that is not in its context"),
    ("the moon", "an answer that is not in its context"),
    (None, "no answer"),
    ([{"text": "", "start": 0}], "an answer of no letters"),
    ([{"text": "refund", "start": "seven"}], "no number for the start of an answer"),
    ({"text": ["a", "b"], "answer_start": [1]}, "2 texts of answers, but 1 starts"),
    ([7.5, {"text": True}], "a bool for an answer"),
])  # fmt: skip
def test_a_row_whose_answer_cannot_be_used_is_set_aside_with_the_reason(cell, reason):
    kept, why = asked(cell)
    assert kept is None
    assert reason in why


def test_a_start_that_does_not_match_is_mended_to_the_nearest_place_and_told_once(caplog):
    task = registry.task(QA)()
    told = [[{"text": "parcel", "start": start}] for start in (58, 30)]
    rows = [{"question": "?", "context": CONTEXT, "answers": cell} for cell in told]
    with caplog.at_level(logging.WARNING):
        used, _ = data.labelled(rows, task, part="train")
    assert [row["answers"] for row in used] == [(("parcel", 61, 67),), (("parcel", 31, 37),)]
    assert len(caplog.records) == 1


def test_rows_of_which_no_answer_stands_in_its_context_are_refused_with_that_reason():
    cells = {"question": ["who?", "what?"], "context": [CONTEXT], "answers": [[{"text": "the moon", "start": 3}]]}
    found = table(**cells)
    with pytest.raises(DataError, match="60 set aside: an answer that is not in its context"):
        data.split(found, tasks.choose(found))


def table(n=60, **columns):
    return Table("t.csv", {"train": [{k: cells[i % len(cells)] for k, cells in columns.items()} for i in range(n)]})


@pytest.mark.parametrize("columns", [
    {"question": ["who?", "what?"], "context": [CONTEXT], "answers": [[{"text": "parcel", "start": 31}], []]},
    {"id": list(range(60)), "title": ["Mail"], "context": [CONTEXT], "question": ["who?", "what is it?"],
     "answers": [{"text": ["parcel"], "answer_start": [31]}]},
    {"Question": ["who?", "what?"], "Passage": ["a parcel", "the parcel"], "Answer": ["parcel"]},
], ids=["lists", "squad", "plain"])  # fmt: skip
def test_the_task_is_told_by_its_columns(columns):
    assert tasks.choose(table(**columns)).name == QA


def test_answers_that_do_not_stand_in_their_context_are_labels_or_asked_about():
    named = table(question=["who?", "what?"], context=[CONTEXT], answer=["yes", "no"])
    with pytest.raises(DataError, match="60 set aside: an answer that is not in its context"):
        data.split(named, tasks.choose(named, name=QA))
    found = tasks.choose(table(question=["who?", "what?"], context=[CONTEXT], reply=["parcel"]), name=QA,
                         columns={"answers": "reply"})  # fmt: skip
    assert found.columns == {"question": "question", "context": "context", "answers": "reply"}


@pytest.mark.parametrize(("truths", "text", "f1", "exact"), [
    (["the Panthers"], "Panthers", 1, 1),
    (["the Panthers"], "panthers!", 1, 1),
    (["red box", "box"], "a box", 1, 1),
    (["one two three"], "two three four", 2 / 3, 0),
    (["one"], "", 0, 0),
    ([], "", 1, 1),
    ([], "one", 0, 0),
    (["the the dog"], "dog dog", 2 / 3, 0),
])  # fmt: skip
def test_answers_are_judged_as_squad_judges_them(truths, text, f1, exact):
    assert spans.value("f1", truths, text) == pytest.approx(f1)
    assert spans.value("exact_match", truths, text) == exact


def test_metrics_are_the_same_of_targets_and_answers_that_went_through_json():
    rows = testing.rows(QA, 30)
    task = registry.task(QA)()
    targets = task.targets(rows)
    values = [target[0][0] if target else "" for target in targets[1:]] + ["locked"]
    kept = [_frozen(value) for value in json.loads(json.dumps(values))]
    again = [task.parse_target(json.loads(json.dumps(target))) for target in targets]
    assert again == targets
    assert task.measure(again, kept) == task.measure(targets, [Answer(value) for value in values])


@pytest.mark.parametrize(("text", "found"), [
    ("My account is locked", "My account is locked"),
    ("my account is LOCKED.", "My account is locked"),
    ("'the parcel never arrived'", "The parcel never arrived"),
    ("your parcel has never arrived", "parcel never arrived"),
    ("", ""), ("moon", ""),
])  # fmt: skip
def test_a_written_answer_points_at_the_words_most_like_it(text, found):
    row = {"question": "what?", "context": CONTEXT}
    answer = registry.task(QA)().parse(text, row)
    assert answer.value == found
    assert [CONTEXT[start:end] for start, end in answer.offsets] == ([found] if found else [])


def test_a_row_is_put_as_a_text_to_read_and_one_to_write():
    task = registry.task(QA)()
    row = {"question": "what?", "context": CONTEXT, "answers": REFUND}
    source, target = task.verbalise(row)
    assert "what?" in source
    assert CONTEXT in source
    assert target == "refund the payment"
    assert task.parse(target, row).value == target
    assert task.verbalise({**row, "answers": ()})[1] == task.verbalise({"question": "", "context": ""})[1] == ""


@pytest.fixture(scope="module")
def reader(checkpoint):
    return body.tokenizer(catalog.find(checkpoint), max_tokens=48)


def test_windows_hold_every_token_of_a_long_context_with_the_question_before_each(reader):
    context = " ".join(f"the parcel {i} never arrived." for i in range(40))
    read = passages(reader, ["my account?", "who?"], [context, "the box"], max_tokens=48)
    assert (read.lengths <= 48).all()
    assert read.row_of.tolist() == [0] * (len(read.ids) - 1) + [1]
    asked_as = reader.encode("my account?").ids
    seen = set()
    for window in range(len(read.ids) - 1):
        assert read.ids[window][: len(asked_as)].tolist() == asked_as
        seen |= {i for start, end in read.offsets[window][read.first[window] : read.last[window]]
                 for i in range(start, end)}  # fmt: skip
    assert seen == {i for i, letter in enumerate(context) if letter != " "}
    assert not read.cut_short.any()


def test_an_answer_is_marked_in_every_window_that_holds_it_whole(reader):
    context = " ".join(f"the parcel {i} never arrived." for i in range(40))
    read = passages(reader, ["my account?"], [context], max_tokens=48)
    start = context.index("parcel 22")
    gold = _spans.gold_places(read, [(("parcel 22", start, start + 9),)])
    marked = [context[read.offsets[w][gold[0][w, 0], 0] : read.offsets[w][gold[1][w, 0], 1]]
              for w in range(len(read.ids)) if gold[0][w, 0]]  # fmt: skip
    assert marked
    assert set(marked) == {"parcel 22"}
    assert len(marked) < len(read.ids)


def test_a_question_longer_than_half_a_window_is_cut_there_and_that_is_told(reader):
    read = passages(reader, ["what is it? " * 50, "what?"], ["the parcel never arrived"] * 2, max_tokens=48)
    assert read.cut_short.tolist() == [True, False]
    assert (read.last > read.first).all()


def marked(read, *places):
    """Scores that prefer (window, start, end) at some strength each."""
    scores = [np.zeros((length, 2)) for length in read.lengths]
    for window, start, end, strength in places:
        scores[window][start, 0] += strength
        scores[window][end, 1] += strength
    return scores


def test_the_best_span_over_all_windows_is_said_with_its_characters(reader):
    context = " ".join(f"the parcel {i} never arrived." for i in range(40))
    read = passages(reader, ["my account?"], [context], max_tokens=48)
    last = len(read.ids) - 1
    first = int(read.first[last])
    scores = marked(read, (0, int(read.first[0]), int(read.first[0]), 2.0), (last, first, first + 1, 3.0))
    (found,) = point(scores, read, 1, longest=4)
    answer = said(found, read, context, Choosing(4))
    ((start, end),) = answer.offsets
    assert context[start:end] == answer.value
    assert (start, end) == (read.offsets[last][first, 0], read.offsets[last][first + 1, 1])
    assert found.share < 0


def test_no_span_is_longer_than_allowed_nor_ends_before_it_starts(reader):
    read = passages(reader, ["what?"], ["the parcel never arrived since monday"], max_tokens=48)
    first = int(read.first[0])
    for start, end in ((first + 3, first), (first, first + 5)):
        (found,) = point(marked(read, (0, start, end, 3.0)), read, 1, longest=3)
        assert 0 <= found.last - found.first < 3


@pytest.mark.parametrize(("threshold", "value"), [(None, "the"), (1.0, ""), (5.0, "the")])
def test_no_answer_is_said_where_it_scores_above_the_best_by_more_than_the_threshold(reader, threshold, value):
    context = "the parcel never arrived"
    read = passages(reader, ["what?"], [context], max_tokens=48)
    first = int(read.first[0])
    (found,) = point(marked(read, (0, first, first, 1.0), (0, 0, 0, 2.0)), read, 1, longest=4)
    answer = said(found, read, context, Choosing(4, threshold))
    assert answer.value == value
    assert bool(answer.offsets) == bool(value)


def test_the_threshold_is_where_the_metric_is_highest():
    task = registry.task(QA)()
    targets = [(("a1", 0, 2),), (("b1", 0, 2),), (), ()]
    threshold = _spans.threshold_of(task, targets, ["a1", "b1", "c", "d"], np.array([-3.0, 0.5, 1.5, 4.0]))
    assert 0.5 < threshold < 1.5
    assert _spans.threshold_of(task, targets[:2], ["a1", "b1"], np.array([3.0, 9.0])) > 9
    assert _spans.threshold_of(task, targets[2:], ["c", "d"], np.array([3.0, 9.0])) < 3


def parcels(n=45):
    """Rows whose answer is always the sentence on a delivery, which a body of random weights can learn to find."""
    found = []
    for row in testing.rows(QA, n):
        answer = next(said for said in testing.WORDS["delivery"] if said in row["context"])
        start = row["context"].index(answer)
        found.append({**row, "answers": ((answer, start, start + len(answer)),)})
    return Fold(found[:-15], found[-15:])


def fitted(name, checkpoint, folder, part, until=6, rate=None):
    task, family = registry.task(QA)(), registry.family(name)
    candidate = family.propose(task, testing.facts(task, part), [checkpoint])[-1]
    candidate = candidate.having({"learning_rate": rate}) if rate else candidate
    model = family.fit(candidate, task, part, state=folder / "state", until=until, monitor=lambda *_: None, seed=0)
    return task, model


@pytest.fixture(scope="module")
def tuned(checkpoint, tmp_path_factory):
    place = tmp_path_factory.mktemp("tuned")
    task, model = fitted("encoder", checkpoint, place, parcels(), until=25, rate=5e-3)
    (place / "model").mkdir()
    model.save(place / "model")
    return task, model, place / "model"


def test_fine_tuning_points_better_than_the_first_sentence(tuned, tmp_path):
    task, model, _ = tuned
    part = parcels()
    _, floor = fitted("majority", "", tmp_path, part)
    reached = [task.score(task.targets(part.validation), each.predict(part.validation)) for each in (model, floor)]
    assert reached[0] > reached[1] + 0.2


def test_every_answer_is_what_stands_at_its_offsets(tuned):
    _, model, _ = tuned
    rows = testing.rows(QA, 12)
    rows[0] = {**rows[0], "context": " ".join(row["context"] for row in testing.rows(QA, 30))}
    for row, answer in zip(rows, model.predict(rows), strict=True):
        assert answer.value == "".join(row["context"][start:end] for start, end in answer.offsets)


def test_a_stored_model_answers_without_torch(tuned):
    _, model, folder = tuned
    rows = testing.rows(QA, 5)
    code = ("import json, sys; from pathlib import Path; from cutler import models\n"
            "model = models.load(Path(sys.argv[1])); found = model.predict(json.loads(sys.argv[2]))\n"
            "assert not {'torch', 'transformers'} & set(sys.modules)\n"
            "print(json.dumps([answer.value for answer in found]))")  # fmt: skip
    done = subprocess.run([sys.executable, "-c", code, str(folder), json.dumps(rows)], capture_output=True, text=True,
                          check=True)  # fmt: skip
    assert json.loads(done.stdout) == [answer.value for answer in model.predict(rows)]


def test_training_goes_on_from_a_stored_model(tuned, checkpoint, tmp_path):
    task, model, folder = tuned
    part = parcels()
    state = tmp_path / "state"
    (state / "start").parent.mkdir(parents=True)
    folder.rename(state / "start")
    again = _spans.Spans(model.candidate, task, part, trained_layers=model.candidate["trained_layers"], depth=2,
                         state=state, recipe=recipe_of(model.candidate), seed=0)  # fmt: skip
    again.network.eval()
    before = task.score(task.targets(part.validation), model.predict(part.validation))
    assert again.check() == pytest.approx(before, abs=1e-6)
    (state / "start").rename(folder)


def test_probabilities_say_how_often_an_answer_is_right(tmp_path):
    part = testing.fold(QA, 90)
    task, model = fitted("linear", "", tmp_path, part)
    model.weight = model.weight * 0.02 + np.arange(len(model.weight)) % 3
    told = calibrate.fit(model, task, part)
    answers = model.predict(part.validation)
    right = [task.score([t], [a]) >= 1 for t, a in zip(task.targets(part.validation), answers, strict=True)]
    assert told["part"] == "validation"
    assert np.mean([a.probability for a in answers]) == pytest.approx(np.mean(right), abs=0.12)


def test_possible_answers_are_sentences_and_what_stands_between_their_marks():
    texts = [CONTEXT[start:end] for start, end in possible("what?", CONTEXT).places]
    assert texts == ["", "Please refund the payment", "The parcel never arrived, and the parcel was dear",
                     "The parcel never arrived", "and the parcel was dear", "My account is locked"]  # fmt: skip
    assert len(possible("what?", "parcel, " * 20_000).places) < 1000


def test_errors_quote_the_question_and_what_stands_around_the_right_answer():
    task = registry.task(QA)()
    long = "nothing here. " * 100 + CONTEXT
    start = long.index("refund the payment")
    rows = [{"question": "what of money?", "context": long, "answers": (("refund the payment", start, start + 18),)},
            {"question": "who?", "context": CONTEXT, "answers": ()}]  # fmt: skip

    class Silent:
        def predict(self, rows):
            return [Answer("", 0.9, ()), Answer("My account", 0.2, ((78, 88),))]

    found = evaluate.on_test(Silent(), task, rows, floors={}, examples=True, seed=0)
    first, second = found.errors
    assert "what of money?" in first["text"]
    assert "refund the payment" in first["text"]
    assert len(first["text"]) < 300
    assert (first["truth"], first["answer"]) == (("refund the payment",), ())
    assert (second["truth"], second["answer"]) == ((), ("My account",))
    assert not found.confusion
    assert not found.per_label


def test_files_hold_where_an_answer_starts_and_ends(tmp_path):
    rows = [{"question": "what?", "context": CONTEXT}] * 2
    answers = [Answer("parcel", 0.5, ((31, 37),)), Answer("", 0.5, ())]
    data.write(rows, answers, tmp_path / "a.csv")
    with (tmp_path / "a.csv").open(newline="") as file:
        found = list(csv.DictReader(file))
    assert [(row["answer"], row["start"], row["end"]) for row in found] == [("parcel", "31", "37"), ("", "", "")]
    data.write(rows, answers, tmp_path / "a.jsonl")
    lines = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    assert [line["offsets"] for line in lines] == [[[31, 37]], []]


def test_the_profile_counts_question_and_context_and_knows_no_labels():
    task = registry.task(QA)()
    rows = testing.rows(QA, 20)
    facts = testing.facts(task, testing.fold(QA, 30))
    assert facts.classes == {}
    assert not facts.paired
    assert facts.words.mean > np.mean([len(row["context"].split()) for row in rows])


def test_policies_are_recognised_and_split(tmp_path):
    source = Path(__file__).parent.parent.parent / "shared" / "data" / "policyqa"
    if not source.is_dir():
        pytest.skip("the shared data sets are not beside the repository")
    found = data.read(source)
    task = tasks.choose(found)
    splits = data.split(found, task)
    assert (task.name, task.metric) == (QA, "f1")
    assert not splits.set_aside


NESTED = {"version": "1", "data": [{"title": "post", "paragraphs": [{"context": CONTEXT, "qas": [
    {"id": "a", "question": "what should be paid back?", "answers": [{"text": "the payment", "answer_start": 14}]},
    {"id": "b", "question": "who sent it?", "is_impossible": True,
     "answers": [], "plausible_answers": [{"text": "parcel", "answer_start": 31}]},
]}]}]}  # fmt: skip


def test_the_nested_files_of_squad_are_read_as_rows(tmp_path):
    (tmp_path / "train.json").write_text(json.dumps(NESTED))
    table = data.read(tmp_path / "train.json")
    task = tasks.choose(table)
    used, aside = data.labelled(table.parts["train"], task, part="train")
    assert (task.name, aside) == (QA, [])
    assert [(row["question"], row["answers"]) for row in used] == [
        ("what should be paid back?", (("the payment", 14, 25),)), ("who sent it?", ())]  # fmt: skip


@pytest.mark.parametrize(("paragraph", "reason"), [
    ({"qas": []}, "qas in .*train.json, paragraph 1 of article 1"),
    ({"context": CONTEXT, "qas": ["what?"]}, "another thing among those of .*train.json"),
    ("a text", "'a text' in .*train.json, paragraph 1 of article 1"),
])  # fmt: skip
def test_a_nested_file_with_something_missing_says_where(paragraph, reason, tmp_path):
    (tmp_path / "train.json").write_text(json.dumps({"data": [{"paragraphs": [paragraph]}]}))
    with pytest.raises(DataError, match=reason):
        data.read(tmp_path / "train.json")


def test_answers_that_stand_elsewhere_are_told_from_missing_columns():
    rows = [{"question": f"what is {n}?", "context": CONTEXT, "answer": f"number {n}, of course"} for n in range(30)]
    with pytest.raises(UsageError, match="'answer' of which less than half does"):
        tasks.choose(Table("rows", {"train": rows}))
    named = tasks.choose(Table("rows", {"train": rows}), name=QA)
    assert named.columns["answers"] == "answer", "who names the task is told row by row"
