"""Answers come out beside their rows, in a file that is there whole or not at all."""

from __future__ import annotations

import csv
import json
import stat

import pytest
from pyarrow import parquet

from cutler import data
from cutler.errors import OutputError, UsageError
from cutler.types import Answer

ROWS = [{"id": "007", "Body": 'où, "est"-il ?\n'}, {"id": "8", "Body": "x", "extra": 1}]
ANSWERS = [Answer("spam", 0.75), Answer("ham")]
TOP = [[("spam", 0.75), ("ham", 0.25)], [("ham", float("nan"))]]


def cells(path, delimiter=","):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file, delimiter=delimiter))


def test_json_lines_number_the_rows_and_write_unknown_probabilities_as_null(tmp_path):
    data.write(ROWS, ANSWERS, tmp_path / "a.jsonl", top=TOP)
    found = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text("utf-8").splitlines()]
    assert found == [
        {"row": 1, "answer": "spam", "probability": 0.75, "top": [["spam", 0.75], ["ham", 0.25]]},
        {"row": 2, "answer": "ham", "probability": None, "top": [["ham", None]]},
    ]


@pytest.mark.parametrize(("name", "delimiter"), [("a.csv", ","), ("a.tsv", "\t")])
def test_tables_keep_the_columns_of_the_rows_and_can_be_read_again(tmp_path, name, delimiter):
    data.write(ROWS, ANSWERS, tmp_path / name)
    assert cells(tmp_path / name, delimiter) == [
        {"id": "007", "Body": 'où, "est"-il ?\n', "extra": "", "answer": "spam", "probability": "0.75"},
        {"id": "8", "Body": "x", "extra": "1", "answer": "ham", "probability": ""},
    ]
    assert data.rows(tmp_path / name)[0]["Body"] == 'où, "est"-il ?\n'


def test_parquet_keeps_the_types(tmp_path):
    answers = [Answer(("a", "b"), 0.5), Answer(())]
    data.write(ROWS, answers, tmp_path / "a.parquet", top=TOP)
    found = parquet.read_table(tmp_path / "a.parquet").to_pylist()
    assert [row["answer"] for row in found] == [["a", "b"], []]
    assert [row["probability"] for row in found] == [0.5, None]
    assert json.loads(found[0]["top"]) == [["spam", 0.75], ["ham", 0.25]]


def test_several_labels_stand_between_bars_in_csv_and_numbers_as_they_are(tmp_path):
    data.write([{"text": "x"}] * 3, [Answer(("a", "b")), Answer(()), Answer(3.5)], tmp_path / "a.csv")
    assert [row["answer"] for row in cells(tmp_path / "a.csv")] == ["a|b", "", "3.5"]


def test_a_column_of_our_name_is_kept_and_ours_gets_a_number(tmp_path):
    data.write([{"text": "x", "answer": "old", "answer_2": "older"}], [Answer("new")], tmp_path / "a.csv")
    assert cells(tmp_path / "a.csv") == [
        {"text": "x", "answer": "old", "answer_2": "older", "answer_3": "new", "probability": ""}
    ]


def test_no_rows_make_a_file_with_a_header(tmp_path):
    data.write([], [], tmp_path / "a.csv")
    assert (tmp_path / "a.csv").read_text() == "answer,probability\n"


def test_the_file_has_the_rights_that_files_have_here(tmp_path):
    (tmp_path / "plain").write_text("")
    data.write(ROWS, ANSWERS, tmp_path / "a.jsonl")
    assert stat.S_IMODE((tmp_path / "a.jsonl").stat().st_mode) == stat.S_IMODE((tmp_path / "plain").stat().st_mode)


@pytest.mark.parametrize("name", ["a.xlsx", "a", "missing/a.csv"])
def test_a_place_that_cannot_be_written_is_refused(tmp_path, name):
    with pytest.raises(OutputError):
        data.write(ROWS, ANSWERS, tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_cannot_be_replaced_leaves_everything_as_it_was(tmp_path):
    (tmp_path / "a.csv").mkdir()
    (tmp_path / "a.csv" / "inside").write_text("older")
    with pytest.raises(OutputError, match="directory"):
        data.write(ROWS, ANSWERS, tmp_path / "a.csv")
    assert [path.name for path in sorted(tmp_path.rglob("*"))] == ["a.csv", "inside"]


def test_a_column_of_mixed_types_is_refused_in_parquet_and_written_in_csv(tmp_path):
    mixed = [{"a": 1}, {"a": "x"}]
    with pytest.raises(OutputError, match="csv"):
        data.write(mixed, ANSWERS, tmp_path / "a.parquet")
    data.write(mixed, ANSWERS, tmp_path / "a.csv")
    assert [row["a"] for row in cells(tmp_path / "a.csv")] == ["1", "x"]


def test_answers_of_another_number_than_rows_are_refused(tmp_path):
    with pytest.raises(UsageError, match="1 answers to 2 rows"):
        data.write(ROWS, ANSWERS[:1], tmp_path / "a.csv")
