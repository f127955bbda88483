"""Every row lands in one part or is set aside with a reason, and no text stands on both sides."""

from __future__ import annotations

import math
import random
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cutler import data, tasks
from cutler.data import carve, duplicates
from cutler.errors import DataError, UsageError
from cutler.tasks.multi_label_classification import MultiLabelClassification
from cutler.tasks.text_classification import TextClassification
from cutler.tasks.text_pair_classification import TextPairClassification
from cutler.tasks.text_regression import TextRegression
from cutler.types import Splits, Table

SHARED = Path(__file__).parent.parent.parent / "shared" / "data"
WORDS = [a + b for a in ("ba", "ko", "ri", "te", "mu", "so", "la", "ne") for b in ("lt", "ck", "sh", "nd", "rp", "gg")]
PARTS = ("train", "validation", "test", "calibration")


def unlike(number: int, length: int = 9) -> str:
    """A text that is like no other."""
    return " ".join(random.Random(number).choices(WORDS, k=length))


def table(rows, **parts) -> Table:
    return Table("rows", {"train": rows, **parts})


def rows_of(n: int, labels: str = "ab") -> list[dict]:
    return [{"text": unlike(i), "label": labels[i % len(labels)], "n": i} for i in range(n)]


def numbers(splits: Splits) -> dict[str, list[int]]:
    return {part: [row["n"] for row in getattr(splits, part)] for part in PARTS}


def groups_across(splits: Splits, key) -> set:
    """Keys that stand in more than one part."""
    seen = [{key(row) for row in getattr(splits, part)} for part in PARTS]
    return {one for part, keys in enumerate(seen) for one in keys if any(one in other for other in seen[part + 1 :])}


@given(
    cells=st.lists(
        st.tuples(st.integers(0, 60), st.sampled_from(["a", "b", "c", None, "", " ", math.nan])), min_size=1
    ),
    seed=st.integers(0, 5),
    grouped=st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_every_row_is_in_one_part_or_set_aside_and_no_text_or_group_is_in_two(cells, seed, grouped):
    rows = [{"text": unlike(text), "label": label, "n": i, "by": text % 7} for i, (text, label) in enumerate(cells)]
    try:
        splits = data.split(table(rows), TextClassification(), seed=seed, group="by" if grouped else None)
    except DataError:
        return
    used = [n for part in numbers(splits).values() for n in part]
    aside = [row.number - 1 for row in splits.set_aside]
    assert sorted(used + aside) == list(range(len(rows)))
    assert all(rows[n]["label"] not in ("a", "b", "c") for n in aside)
    assert all(getattr(splits, part) for part in ("train", "validation", "test"))
    assert not groups_across(splits, lambda row: row["text"])
    assert not grouped or not groups_across(splits, lambda row: row["by"])


@given(n=st.integers(8, 3_000), seed=st.integers(0, 3))
@settings(max_examples=15, deadline=None)
def test_parts_have_the_sizes_that_the_docstring_promises(n, seed):
    splits = data.split(table(rows_of(n)), TextClassification(), seed=seed)
    share = max(1, max(n // 10, min(n // 5, 50)))
    left = n - len(splits.validation) - len(splits.test)
    assert splits.made == ("validation", "test")
    assert len(splits.validation) == pytest.approx(share, abs=2)
    assert len(splits.test) == pytest.approx(share, abs=2)
    assert len(splits.calibration) == pytest.approx(left // 20 if left >= 1_000 else 0, abs=2)


def test_the_same_seed_gives_the_same_parts_in_any_process():
    program = (
        "import random; from cutler import data; from cutler.types import Table;"
        "from cutler.tasks.text_classification import TextClassification as Task;"
        "w = [a + b for a in 'qwertz' for b in 'asdfgh'];"
        "rows = [{'text': ' '.join(random.Random(i % 200).choices(w, k=9)), 'label': 'xyz'[i % 3], 'by': str(i % 70),"
        " 'n': i} for i in range(1500)];"
        "s = data.split(Table('', {'train': rows}), Task(), seed=3, group='by');"
        "print([[r['n'] for r in p] for p in (s.train, s.validation, s.test, s.calibration)])"
    )
    found = {
        subprocess.run(
            [sys.executable, "-c", program], env={"PYTHONHASHSEED": seed}, capture_output=True, check=True
        ).stdout
        for seed in ("1", "2")
    }
    assert len(found) == 1


def test_another_seed_gives_other_parts():
    one, other = (numbers(data.split(table(rows_of(200)), TextClassification(), seed=seed)) for seed in (0, 1))
    assert one["test"] != other["test"]


def test_labels_are_spread_over_the_parts_in_their_proportions():
    rows = rows_of(1_000, labels="aaaaaaabbc")
    splits = data.split(table(rows), TextClassification())
    for part in (splits.validation, splits.test):
        assert Counter(row["label"] for row in part) == {"a": 70, "b": 20, "c": 10}


def test_numbers_are_spread_over_the_parts_by_their_size():
    rows = [{"text": unlike(i), "score": i**3} for i in range(1_000)]
    splits = data.split(table(rows), TextRegression())
    tenths = Counter(int(round(row["score"] ** (1 / 3))) // 100 for row in splits.test)
    assert set(tenths) == set(range(10))
    assert set(tenths.values()) == {10}


def test_the_rarest_label_of_several_is_spread():
    rows = [{"text": unlike(i), "labels": ["all", "rare"] if i % 20 == 0 else ["all"]} for i in range(400)]
    splits = data.split(table(rows), MultiLabelClassification())
    assert [sum("rare" in row["labels"] for row in part) for part in (splits.validation, splits.test)] == [3, 2]


def test_a_label_of_a_single_row_stays_in_train():
    rows = [*rows_of(300), {"text": "quite alone", "label": "once", "n": 300}]
    for seed in range(5):
        assert 300 in numbers(data.split(table(rows), TextClassification(), seed=seed))["train"]


def test_official_parts_are_never_moved():
    rows = rows_of(1_300)
    splits = data.split(table(rows[:1_100], validation=rows[1_100:1_200], test=rows[1_200:]), TextClassification())
    found = numbers(splits)
    assert splits.made == ()
    assert found["validation"] == list(range(1_100, 1_200))
    assert found["test"] == list(range(1_200, 1_300))
    assert sorted(found["train"] + found["calibration"]) == list(range(1_100))
    assert len(splits.calibration) == pytest.approx(55, abs=1)


@pytest.mark.parametrize(("given_part", "made"), [("test", "validation"), ("validation", "test")])
def test_only_the_missing_part_is_carved(given_part, made):
    rows = rows_of(400)
    splits = data.split(table(rows[:300], **{given_part: rows[300:]}), TextClassification())
    assert splits.made == (made,)
    assert numbers(splits)[given_part] == list(range(300, 400))
    assert len(getattr(splits, made)) == 50


def test_a_test_part_without_labels_is_replaced_and_said(caplog):
    rows = rows_of(100)
    splits = data.split(table(rows, test=[{"text": "what is this?", "label": None}]), TextClassification())
    assert splits.made == ("validation", "test")
    assert [(row.part, row.number, row.reason) for row in splits.set_aside] == [("test", 1, "no label")]
    assert "test part" in caplog.text


def test_texts_that_differ_in_case_punctuation_digits_or_a_word_stay_together():
    base = [unlike(i, length=14) for i in range(100)]
    changes = [str.upper, lambda t: t + " !!", lambda t: "  " + t.replace(" ", "   "), lambda t: t + "."]
    rows = [{"text": t, "label": "ab"[i % 2], "of": i} for i, t in enumerate(base)]
    rows += [{"text": changes[i % 4](t), "label": "ab"[i % 2], "of": i} for i, t in enumerate(base)]
    rows += [{"text": f"{t} {i % 2}{i}", "label": "ab"[i % 2], "of": i} for i, t in enumerate(base)]
    rows += [{"text": " ".join(t.split()[1:]), "label": "ab"[i % 2], "of": i} for i, t in enumerate(base)]
    for seed in range(5):
        splits = data.split(table(rows), TextClassification(), seed=seed)
        assert groups_across(splits, lambda row: row["of"]) == set()


def test_texts_made_from_one_template_can_still_be_split_and_the_log_says_so(caplog):
    rows = [{"text": f"this is row number {i}", "label": "ab"[i % 2]} for i in range(100)]
    splits = data.split(table(rows), TextClassification())
    assert (len(splits.validation), len(splits.test)) == (20, 20)
    assert "nearly equal" in caplog.text


def test_near_equality_is_verified_and_finds_all_that_are_alike():
    texts = [unlike(i, length=20) for i in range(200)]
    twins = [" ".join([*text.split()[:-1], "changed"]) for text in texts]
    _, groups = next(iter(duplicates.groupings(texts + twins)))
    together = sum(groups[i] == groups[i + 200] for i in range(200))
    assert together >= 198
    assert len(set(groups[:200].tolist())) == 200


def test_texts_in_scripts_without_spaces_are_compared_by_letters():
    one, other = "今天天气很好我们一起去公园散步吧朋友们", "今天天气很好我们一起去公园散步吧朋友"
    _, groups = next(iter(duplicates.groupings([one, other, "请问退款需要多长时间才能到账"])))
    assert groups[0] == groups[1] != groups[2]


def test_vowel_signs_and_symbols_are_no_punctuation():
    keys = [duplicates.plain({"text": text}, ("text",)) for text in ("की", "का", "good 😀", "good 😡", ":)", ":(")]
    assert len(set(keys)) == 6


def test_rows_of_a_group_stay_together_and_rows_without_one_are_free():
    rows = [{**row, "by": None if row["n"] % 2 else row["n"] % 40} for row in rows_of(600)]
    splits = data.split(table(rows), TextClassification(), group="by")
    assert groups_across(splits, lambda row: row["by"]) == {None}


def test_a_group_may_be_named_by_a_column_that_has_a_role():
    rows = [{"Mail": unlike(i % 50), "label": "ab"[i % 2]} for i in range(200)]
    task = TextClassification({"text": "Mail", "label": "label"})
    assert not groups_across(data.split(table(rows), task, group="Mail"), lambda row: row["text"])


def test_a_few_large_groups_still_give_every_part_some():
    rows = [{**row, "by": row["n"] % 4} for row in rows_of(400)]
    splits = data.split(table(rows), TextClassification(), group="by")
    assert {part: len(found) for part, found in numbers(splits).items()} == {
        "train": 200, "validation": 100, "test": 100, "calibration": 0,
    }  # fmt: skip


def test_both_texts_of_a_pair_count_together():
    rows = [{"text": unlike(i % 20), "text_pair": unlike(1_000 + i), "label": "ab"[i % 2]} for i in range(200)]
    splits = data.split(table(rows), TextPairClassification())
    assert (len(splits.validation), splits.duplicates) == (40, 0)


def test_leaks_duplicates_and_conflicts_are_counted_and_nothing_is_dropped():
    rows = [*rows_of(100), {"text": unlike(0).upper() + "!", "label": "b", "n": 100}, {**rows_of(2)[1], "n": 101}]
    test = [{"text": unlike(5) + "?", "label": "a", "n": 200}, {"text": "all new", "label": "a", "n": 201}]
    splits = data.split(table(rows, validation=rows_of(300)[200:], test=test), TextClassification())
    assert splits.leaks == {"validation": 0, "test": 1}
    assert splits.duplicates == 2
    assert splits.conflicts == [(unlike(0), ("a", "b"))]
    assert (len(splits.train), len(splits.test)) == (102, 2)


def test_rows_without_text_or_answer_are_set_aside_with_number_and_reason():
    odd = [
        {"text": None, "label": "a"}, {"text": "  ", "label": "a"}, {"text": math.nan, "label": "a"}, {"label": "a"},
        {"text": ["a"], "label": "a"}, {"text": "x", "label": None}, {"text": "x", "label": ""}, {"text": "x"},
        {"text": "x", "label": math.nan}, {"text": "x", "label": {"a": 1}}, {"text": "half \ud83d", "label": "a"},
    ]  # fmt: skip
    splits = data.split(table([*rows_of(100), *odd]), TextClassification())
    assert [row.number for row in splits.set_aside] == list(range(101, 112))
    assert [row.reason for row in splits.set_aside] == [
        "no text", "no text", "no text", "no text", "a list for a text", "no label", "no label", "no label", "no label",
        "a dict for a label: {'a': 1}", "a text with half of a surrogate pair",
    ]  # fmt: skip


def test_labels_are_strings_numbers_floats_and_other_columns_are_kept():
    rows = [{"Body": 7 if i == 0 else unlike(i), "Kind": i % 2 == 0, "text": "other", "age": i} for i in range(40)]
    splits = data.split(table(rows), TextClassification({"text": "Body", "label": "Kind"}))
    found = {row["age"]: row for part in PARTS for row in getattr(splits, part)}
    assert found[0] == {"text": "7", "label": "true", "age": 0}
    assert found[1]["label"] == "false"


def test_numbers_are_floats_even_where_the_file_spells_them():
    rows = [{"text": unlike(i), "score": f" {i}.50"} for i in range(10)]
    assert sorted(row["score"] for row in data.split(table(rows), TextRegression()).train)[0] in (0.5, 1.5, 2.5)


ALAS = {
    "few rows": (rows_of(7), r"at least 8 rows.*Found 7"),
    "no labels": ([{**row, "label": None} for row in rows_of(20)], r"Found 0 \(20 set aside: no label\)"),
    "one label": (rows_of(20, labels="a"), r"at least two.*'a' in each of 20 rows"),
    "labels once": ([{**row, "label": str(row["n"])} for row in rows_of(20)], "20 labels in 20 rows"),
    "one text": ([{**row, "text": "same"} for row in rows_of(20)], "enough different texts"),
}


@pytest.mark.parametrize(("rows", "said"), ALAS.values(), ids=ALAS)
def test_rows_that_no_model_could_learn_from_are_refused(rows, said):
    with pytest.raises(DataError, match=said):
        data.split(table(rows), TextClassification())


def test_one_group_for_all_rows_is_refused_and_an_unknown_column_named():
    rows = [{**row, "author": "me"} for row in rows_of(40)]
    with pytest.raises(DataError, match="enough values of 'author'"):
        data.split(table(rows), TextClassification(), group="author")
    with pytest.raises(UsageError, match="did you mean 'author'|Did you mean 'author'"):
        data.split(table(rows), TextClassification(), group="auther")


@given(
    sizes=st.lists(st.integers(1, 40), min_size=2, max_size=60), want=st.integers(1, 100), layers=st.integers(1, 4),
    seed=st.integers(0, 3),
)  # fmt: skip
@settings(max_examples=100, deadline=None)
def test_a_part_takes_whole_groups_and_always_leaves_one(sizes, want, layers, seed):
    groups = np.repeat(np.arange(len(sizes)), sizes)
    chosen = carve.take(groups, groups % layers, want=want, rng=np.random.default_rng(seed))
    assert all(len(set(chosen[groups == group].tolist())) == 1 for group in range(len(sizes)))
    assert chosen.any()
    assert not chosen.all()


def test_rows_to_answer_are_keyed_by_role_whether_they_come_by_column_or_by_role():
    task = TextClassification({"text": "Body", "label": "Kind"})
    assert data.keyed([{"Body": "hello", "Kind": "x", "age": 3}], task) == [{"text": "hello", "Kind": "x", "age": 3}]
    assert data.keyed([{"text": "hello"}], task) == [{"text": "hello"}]
    with pytest.raises(DataError, match="row 2 with no text"):
        data.keyed([{"Body": "hello"}, {"Body": ""}], task)
    with pytest.raises(DataError, match="'text'.*'txt'"):
        data.keyed([{"txt": "hello"}], task)


@pytest.mark.parametrize(
    ("name", "task", "sizes"),
    [
        ("trec6", None, (4934, 500, 500)),
        ("sick", "text_pair_regression", (4441, 500, 4927)),
        ("goemotions", None, (8985, 1500, 5427)),
    ],
)
def test_real_folders_keep_their_parts(name, task, sizes):
    if not (SHARED / name).is_dir():
        pytest.skip(f"{SHARED / name} is not there")
    found = data.read(SHARED / name)
    splits = data.split(found, tasks.choose(found, name=task), seed=0)
    assert (len(splits.train) + len(splits.calibration), len(splits.validation), len(splits.test)) == sizes
    assert (splits.made, splits.set_aside) == ((), [])


def test_parts_of_large_tables_are_capped():
    rows = [{"text": unlike(i), "label": "abc"[i % 3]} for i in range(60_000)]
    splits = data.split(table(rows), TextClassification())
    assert (len(splits.validation), len(splits.test), len(splits.calibration)) == (5_000, 5_000, 500)
