"""Whatever shape a table comes in, its rows come out; whatever is wrong with it, the message says where."""

from __future__ import annotations

import gzip
import io
import json
import pickle
import subprocess
import sys
import zipfile
from pathlib import Path

import pyarrow
import pytest
from pyarrow import parquet

from cutler import data
from cutler.errors import DataError

ROWS = [{"text": "my parcel is lost", "label": "delivery"}, {"text": "où est-il ?", "label": "007"}]
CSV = "text,label\nmy parcel is lost,delivery\noù est-il ?,007\n"
LINES = "".join(json.dumps(row) + "\n" for row in ROWS)


def put(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def parquet_bytes(table: pyarrow.Table) -> bytes:
    out = io.BytesIO()
    parquet.write_table(table, out)
    return out.getvalue()


TEXTS = {
    "a.csv": CSV,
    "bom.csv": "\ufeff" + CSV,
    "windows.csv": CSV.replace("\n", "\r\n"),
    "semicolons.csv": CSV.replace(",", ";"),
    "bars.csv": CSV.replace(",", "|"),
    "a.tsv": CSV.replace(",", "\t"),
    "spaced.csv": CSV.replace("text,label", " text , label"),
    "blank.csv": CSV.replace("\n", "\n\n"),
    "a.json": json.dumps(ROWS),
    "wrapped.json": json.dumps({"version": 1, "data": ROWS}),
    "lines.json": LINES,
    "a.jsonl": LINES,
    "a.ndjson": "\n" + LINES,
    "CAPITALS.CSV": CSV,
    "csv_without_ending": CSV,
    "lines_without_ending": LINES,
}


@pytest.mark.parametrize("name", TEXTS)
@pytest.mark.parametrize("zipped", [False, True])
def test_text_formats_give_the_same_rows_zipped_or_not(tmp_path, name, zipped):
    content = TEXTS[name].encode()
    path = put(tmp_path, name + ".gz" * zipped, gzip.compress(content) if zipped else content)
    assert data.read(path).parts == {"train": ROWS}
    assert data.rows(str(path)) == ROWS


def test_parquet_gives_the_same_rows(tmp_path):
    assert data.read(put(tmp_path, "a.parquet", parquet_bytes(pyarrow.Table.from_pylist(ROWS)))).parts["train"] == ROWS


def test_a_single_column_may_hold_any_delimiter(tmp_path):
    assert data.rows(put(tmp_path, "one.csv", "text\nyes, well; no\nleft|right\n")) == [
        {"text": "yes, well; no"}, {"text": "left|right"},
    ]  # fmt: skip


def test_quoted_cells_may_hold_delimiters_quotes_and_line_breaks(tmp_path):
    found = data.rows(put(tmp_path, "q.csv", 'text,label\n"a, ""b""\nc",x\n'))
    assert found == [{"text": 'a, "b"\nc', "label": "x"}]


def test_a_cell_of_a_megabyte_is_read(tmp_path):
    text = "word " * 200_000
    assert data.rows(put(tmp_path, "long.csv", f"text,label\n{text},x\n"))[0]["text"] == text


def test_quotation_marks_that_do_not_pair_are_text_where_tabs_separate(tmp_path):
    found = data.rows(put(tmp_path, "a.tsv", 'text\tlabel\n"hello\tx\nhe said "hi" twice\ty\n'))
    assert [row["text"] for row in found] == ['"hello', 'he said "hi" twice']


def test_plain_text_is_one_text_a_line(tmp_path):
    assert data.rows(put(tmp_path, "a.txt", "one, two\n\nthree\n")) == [{"text": "one, two"}, {"text": "three"}]


@pytest.mark.parametrize("content", [CSV, LINES, json.dumps(ROWS)])
def test_standard_input_is_told_by_its_content(monkeypatch, content):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content.encode())))
    assert data.read("-").parts["train"] == ROWS


ALAS = {
    "empty": ("a.csv", "", ["none in", "a.csv"]),
    "blank": ("a.jsonl", "\n \n", ["none in", "a.jsonl"]),
    "header alone": ("a.csv", "text,label\n", ["none in", "a.csv"]),
    "latin-1": ("a.csv", "text,label\nok,x\ncaf\xe9,x\n".encode("latin-1"), ["0xe9", "position 19", "line 3", "iconv"]),
    "cut letter": ("a.jsonl", b'{"text": "caf\xc3', ["0xc3", "position 13", "line 1", "iconv"]),
    "utf-16": ("a.csv", CSV.encode("utf-16"), ["UTF-16", "iconv -f UTF-16"]),
    "utf-16 unmarked": ("a.csv", "text,label\nok,x\n".encode("utf-16-le"), ["UTF-16"]),
    "utf-32": ("a.csv", CSV.encode("utf-32"), ["UTF-32"]),
    "pickle": ("a.csv", pickle.dumps(ROWS), ["pickle", "run code"]),
    "pdf": ("a.csv", b"%PDF-1.7 ...", ["PDF"]),
    "nul": ("a.csv", "text,label\na\0b,x\n", ["NUL byte at position 12", "binary"]),
    "late nul": ("a.csv", "text,label\n" + "abc,x\n" * 20_000 + "a\0b,x\n", ["NUL byte in line 20002"]),
    "doubled name": ("a.csv", "text,label,text\na,b,c\n", ["'text'", "more than once"]),
    "wide row": ("a.csv", "text,label\na,b\n\nhello, world,b\n", ["2 cells", "Found 3", "line 4", "quotation marks"]),
    "narrow row": ("a.csv", 'text,label\n"a\nb",x\nhello\n', ["2 cells", "Found 1", "line 4"]),
    "open quote": ("a.csv", 'text,label\na,b\n"hello,b\nc,d\n', ["pair", "starts on line 3"]),
    "broken zip": ("a.csv.gz", gzip.compress(CSV.encode() * 99)[:-9], ["ended before"]),
    "broken parquet": ("a.parquet", b"PAR1 and no more", ["a.parquet", "read whole"]),
    "columns in json": ("a.json", '{"text": ["a"], "label": ["b"]}', ["list of records", "text, label"]),
    "number in json": ("a.json", "3", ["list of records", "3"]),
    "broken json": ("a.json", '[{"text": "a",}]', ["character 15"]),
    "deep json": ("a.json", "[" * 100_000, ["recursion"]),
    "broken line": ("a.jsonl", '{"text": "a"}\n{"text": "b"\n', ["line 2"]),
    "list for a record": ("a.jsonl", '{"text": "a"}\n["b"]\n', ["line 2", '["b"]']),
}


@pytest.mark.parametrize(("name", "content", "said"), ALAS.values(), ids=ALAS)
def test_a_damaged_file_is_refused_with_the_place(tmp_path, name, content, said):
    path = put(tmp_path, name, content)
    with pytest.raises(DataError) as error:
        data.read(path)
    assert [part for part in said if part not in str(error.value)] == []


def test_an_archive_is_named(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.xlsx", "w") as file:
        file.writestr("sheet", "1")
    with pytest.raises(DataError, match="Excel workbook"):
        data.read(tmp_path / "a.xlsx")


def test_a_missing_file_suggests_the_nearest_name(tmp_path):
    put(tmp_path, "tickets.csv", CSV)
    with pytest.raises(DataError, match=r"tickets\.csv"):
        data.read(tmp_path / "tickts.csv")
    with pytest.raises(DataError, match="saved to a folder"):
        data.read("stanfordnlp/imdb")


@pytest.mark.parametrize("validation", ["valid.jsonl", "validation.jsonl", "dev.jsonl", "my_val.jsonl"])
def test_a_folder_gives_its_parts(tmp_path, validation):
    put(tmp_path, "train.csv", CSV)
    put(tmp_path, validation, LINES)
    put(tmp_path, "test.json", json.dumps(ROWS))
    put(tmp_path, "README.md", "# not data")
    assert data.read(tmp_path).parts == {"train": ROWS, "validation": ROWS, "test": ROWS}


def test_pieces_of_a_part_are_joined_in_order(tmp_path):
    for number, row in enumerate(ROWS):
        put(tmp_path, f"data/train-0000{number}-of-00002.parquet", parquet_bytes(pyarrow.Table.from_pylist([row])))
    assert data.read(tmp_path).parts == {"train": ROWS}


def test_a_lone_file_in_a_folder_is_the_train_part(tmp_path):
    put(tmp_path, "tickets.csv", CSV)
    assert data.read(tmp_path).parts == {"train": ROWS}


FOLDERS = {
    "nothing": ([], "nothing"),
    "no data": (["notes.md"], r"notes\.md"),
    "test alone": (["test.csv", "dev.csv"], "train part"),
    "two for one": (["train.csv", "train.jsonl"], r"train\.csv and train\.jsonl"),
}


@pytest.mark.parametrize(("names", "said"), FOLDERS.values(), ids=FOLDERS)
def test_a_folder_without_a_clear_train_part_is_refused(tmp_path, names, said):
    for name in names:
        put(tmp_path, name, LINES if name.endswith("jsonl") else CSV)
    with pytest.raises(DataError, match=said):
        data.read(tmp_path)


def test_tables_in_memory_give_the_same_rows():
    pandas = pytest.importorskip("pandas")
    assert data.read(ROWS).parts["train"] == ROWS
    assert data.read(pandas.DataFrame(ROWS)).parts["train"] == ROWS
    assert data.read(pyarrow.Table.from_pylist(ROWS)).parts["train"] == ROWS
    assert data.read({"train": pandas.DataFrame(ROWS), "dev": ROWS}).parts == {"train": ROWS, "validation": ROWS}


def test_missing_cells_of_a_frame_are_none_and_whole_numbers_stay_whole():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"text": ["a", None], "label": [1, float("nan")], "score": [0.5, pandas.NA]})
    assert data.read(frame).parts["train"] == [
        {"text": "a", "label": 1, "score": 0.5}, {"text": None, "label": None, "score": None},
    ]  # fmt: skip


def test_parts_of_other_names_are_left_out_and_said(caplog):
    assert set(data.read({"train": ROWS, "unsupervised": ROWS}).parts) == {"train"}
    assert "unsupervised" in caplog.text


@pytest.mark.parametrize(
    "source", [3, None, ["a", "b"], {"text": ["a"], "label": ["b"]}, [], {"test": ROWS}, iter(ROWS)]
)
def test_what_is_no_table_is_refused(source):
    with pytest.raises(DataError):
        data.read(source)


def test_a_frame_with_a_doubled_column_is_refused():
    pandas = pytest.importorskip("pandas")
    with pytest.raises(DataError, match="'a' more than once"):
        data.read(pandas.DataFrame([[1, 2]], columns=["a", "a"]))


@pytest.fixture(scope="module")
def named():
    """A Hugging Face data set whose labels are integers with names; -1 stands for none."""
    datasets = pytest.importorskip("datasets")
    label = datasets.ClassLabel(names=["ham", "spam"])
    features = datasets.Features({"text": datasets.Value("string"), "label": label, "labels": datasets.List(label)})
    rows = {"text": ["a", "b", "c"], "label": [1, 0, -1], "labels": [[0, 1], [], [1]]}
    return datasets.Dataset.from_dict(rows, features=features)


NAMED = [
    {"text": "a", "label": "spam", "labels": ["ham", "spam"]},
    {"text": "b", "label": "ham", "labels": []},
    {"text": "c", "label": None, "labels": ["spam"]},
]


def test_data_sets_give_their_classes_by_name(named):
    datasets = pytest.importorskip("datasets")
    assert data.read(named).parts == {"train": NAMED}
    both = datasets.DatasetDict({"train": named, "test": named.select([1])})
    assert data.read(both).parts == {"train": NAMED, "test": NAMED[1:2]}


def test_saved_data_sets_give_their_classes_by_name(named, tmp_path):
    datasets = pytest.importorskip("datasets")
    named.save_to_disk(tmp_path / "one")
    datasets.DatasetDict({"train": named, "validation": named.select([2, 0])}).save_to_disk(tmp_path / "two")
    named.to_parquet(tmp_path / "three.parquet")
    assert data.read(tmp_path / "one").parts == {"train": NAMED}
    assert data.read(tmp_path / "two").parts == {"train": NAMED, "validation": [NAMED[2], NAMED[0]]}
    assert data.read(tmp_path / "three.parquet").parts == {"train": NAMED}


def test_reading_loads_no_package_that_did_not_make_the_source(named, tmp_path):
    named.save_to_disk(tmp_path / "saved")
    put(tmp_path, "a.csv", CSV)
    program = (
        "import sys; from cutler import data; data.read(sys.argv[1]); data.read(sys.argv[2]);"
        "print(sorted({'torch', 'pandas', 'datasets', 'transformers'} & sys.modules.keys()))"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "saved"), str(tmp_path / "a.csv")]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip() == "[]"
