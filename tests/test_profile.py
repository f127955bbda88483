"""The profile holds facts, all of them of the train split, and no text."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from cutler import data, profile, tasks
from cutler.tasks.multi_label_classification import MultiLabelClassification
from cutler.tasks.text_classification import TextClassification
from cutler.tasks.text_pair_regression import TextPairRegression
from cutler.types import SetAside, Splits

SHARED = Path(__file__).parent.parent.parent / "shared" / "data"


def described(texts, task=None, **parts):
    rows = [{"text": text, "label": "ab"[i % 2]} for i, text in enumerate(texts)]
    return profile.describe(Splits(rows, rows[:1], rows[:1], **parts), task or TextClassification())


def test_counts_come_from_the_splits():
    train = [{"text": "one two", "label": "a"}] * 6 + [{"text": "one two three four", "label": "b"}] * 2
    splits = Splits(
        train, [{"text": "x", "label": "c"}], [{"text": "x", "label": "d"}] * 3, train[:2], [SetAside("train", 9, "")],
        ("test",), 6, [("x", ("a", "b"))], {"test": 3},
    )  # fmt: skip
    facts = profile.describe(splits, TextClassification())
    assert (facts.n_train, facts.n_validation, facts.n_calibration, facts.n_test) == (8, 1, 2, 3)
    assert (facts.classes, facts.imbalance, facts.unseen_labels) == ({"a": 6, "b": 2}, 3.0, ("c", "d"))
    assert (facts.set_aside, facts.made, facts.duplicates, facts.conflicts, facts.leaks) == (
        1,
        ("test",),
        6,
        1,
        {"test": 3},
    )
    assert (facts.words.mean, facts.words.p50, facts.words.max) == (2.5, 2.0, 4.0)
    assert math.isnan(facts.target_mean)


def test_several_labels_are_counted_one_by_one():
    rows = [{"text": "x", "labels": labels} for labels in (("a", "b"), ("a",), ())]
    facts = profile.describe(Splits(rows, rows, rows), MultiLabelClassification())
    assert facts.classes == {"a": 2, "b": 1}


def test_both_texts_of_a_pair_are_measured_together_and_targets_spread():
    rows = [{"text": "a b", "text_pair": "c", "score": score} for score in (1.0, 3.0)]
    facts = profile.describe(Splits(rows, rows, rows), TextPairRegression())
    assert (facts.paired, facts.words.max, facts.chars.max) == (True, 3.0, 4.0)
    assert (facts.classes, facts.target_mean, facts.target_std) == ({}, 2.0, 1.0)


LANGUAGES = {
    "en": "The parcel that I ordered last week has still not arrived, and nobody answers the phone.",
    "de": "Das Paket, das ich letzte Woche bestellt habe, ist noch immer nicht angekommen.",
    "ru": "Посылка, которую я заказал на прошлой неделе, до сих пор не пришла, и никто не отвечает.",
    "zh": "我上周订购的包裹至今还没有送到，也没有人接电话。请尽快告诉我什么时候能收到。",
    "el": "Το δέμα που παρήγγειλα την περασμένη εβδομάδα δεν έχει φτάσει ακόμα.",
}
SCRIPTS = {"en": "Latin", "de": "Latin", "ru": "Cyrillic", "zh": "Han", "el": "Greek"}


@pytest.mark.parametrize("code", LANGUAGES)
def test_language_and_script_are_told(code):
    facts = described([LANGUAGES[code]] * 20)
    assert facts.language == code
    assert next(iter(facts.scripts)) == SCRIPTS[code]


def test_a_mixture_of_languages_is_no_language():
    facts = described(list(LANGUAGES.values()) * 20)
    assert facts.language == ""
    assert set(facts.scripts) == {"Latin", "Cyrillic", "Han", "Greek"}
    assert sum(facts.scripts.values()) == pytest.approx(1, abs=0.001)


@pytest.mark.parametrize("text", ["12345", "?!", "😀"])
def test_texts_without_letters_have_neither_script_nor_language(text):
    facts = described([text] * 20)
    assert (facts.language, facts.scripts) == ("", {})


def test_letters_count_as_words_where_no_spaces_stand_between_them():
    assert described(["我的包裹 ok"]).words.max == 5


def test_the_profile_is_json_and_holds_no_text():
    written = json.dumps(described(["a very private sentence"] * 9).as_json(), allow_nan=False)
    assert "private" not in written


def test_a_real_folder_is_described():
    if not (SHARED / "trec6").is_dir():
        pytest.skip(f"{SHARED / 'trec6'} is not there")
    table = data.read(SHARED / "trec6")
    task = tasks.choose(table)
    facts = profile.describe(data.split(table, task), task)
    assert set(facts.classes) == {"ABBR", "DESC", "ENTY", "HUM", "LOC", "NUM"}
    assert (facts.language, facts.scripts, facts.leaks["test"]) == ("en", {"Latin": 1.0}, 1)
    assert 8 < facts.words.mean < 12
