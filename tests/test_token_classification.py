"""Tagging words: what tags mean, how they are scored, found, and turned into spans of text."""

from __future__ import annotations

import itertools
import json
import logging
from dataclasses import asdict

import numpy as np
import pytest
from typer.testing import CliRunner

from cutler import api, bundle, calibrate, catalog, data, evaluate, registry, tags, tasks, testing
from cutler.cli import app
from cutler.data import words
from cutler.data.formats import read as read_file
from cutler.data.opened import from_path
from cutler.errors import DataError, UsageError
from cutler.models import body
from cutler.models import states as stored
from cutler.models.base import Decision
from cutler.models.body import heights
from cutler.models.decoding import chain_of, likeliest_tags
from cutler.models.windows import windows
from cutler.models.wordwindow import WordWindow, hashed
from cutler.types import Answer, Constraints, Fold, Span, Table

TASK = registry.task("token_classification")()
LABELS = ("B-loc", "B-per", "I-loc", "I-per", "O")


# words

TEXTS = {
    "marks at both ends": ('She said: "Hi!"', ["She", "said", ":", '"', "Hi", "!", '"']),
    "marks inside": ("it's 3.5% of e-mail, see http://x.org/a.", ["it's", "3.5", "%", "of", "e-mail", ",", "see",
                                                                 "http://x.org/a", "."]),
    "names and topics": ("@ann, #no1 # @", ["@ann", ",", "#no1", "#", "@"]),
    "no spaces": ("我爱 北京。", ["我", "爱", "北", "京", "。"]),
    "vowel signs": ("हिन्दी में।", ["हिन्दी", "में", "।"]),
    "nothing": (" \n\t", []),
    "marks alone": ("?! ...", ["?", "!", ".", ".", "."]),
}  # fmt: skip


@pytest.mark.parametrize(("text", "wanted"), TEXTS.values(), ids=TEXTS)
def test_a_text_is_cut_into_words_that_stand_where_their_offsets_say(text, wanted):
    assert list(words.words_of(text)) == wanted
    assert [text[start:end] for start, end in words.offsets_of(text)] == wanted


def test_words_stand_in_a_text_with_single_spaces_between_them():
    given = ("New York", "", "is", "big")
    text = words.text_of(given)
    assert text == "New York  is big"
    assert [text[start:end] for start, end in words.offsets_of(given)] == list(given)


# tags

SCHEMES = {
    "IOB2": ("B-a I-a B-a O", "B-a I-a B-a O"),
    "IOB1": ("I-a I-a B-a O I-b", "B-a I-a B-a O B-b"),
    "IO": ("I-a I-b I-b", "B-a B-b I-b"),
    "IOBES": ("B-a I-a E-a S-a S-b O", "B-a I-a I-a B-a B-b O"),
    "BILOU": ("B-a L-a U-a L-b", "B-a I-a B-a B-b"),
    "plain": ("NOUN VERB O", "NOUN VERB O"),
}


@pytest.mark.parametrize(("given", "wanted"), SCHEMES.values(), ids=SCHEMES)
def test_other_ways_of_marking_spans_become_iob2(given, wanted):
    assert TASK.parse_target(given) == tuple(wanted.split())
    assert TASK.parse_target(wanted) == tuple(wanted.split())


def test_spans_are_read_off_the_tags():
    found = tags.spans(["B-a", "I-a", "O", "B-b", "B-b", "I-a"])
    assert found == [("a", 0, 2), ("b", 3, 4), ("b", 4, 5), ("a", 5, 6)]


@pytest.mark.parametrize(
    ("cells", "said"),
    [(["B_per I_per O"], "'B_per', 'I_per'"), (["per-B O"], "'per-B'"), (["B I O"], "'B', 'I'"),
     (["B-per O", "O LOC"], "'B-per' and 'LOC'")],
)  # fmt: skip
def test_an_unknown_way_of_tagging_is_refused_before_anything_is_spent(cells, said):
    found = [{"tokens": ["x"] * len(cell.split()), "tags": cell.split()} for cell in cells] * 20
    with pytest.raises(DataError) as error:
        tasks.choose(Table("t", {"train": found}))
    assert said in str(error.value)
    assert "B-TYPE" in str(error.value)


def test_a_conversion_is_told(caplog):
    with caplog.at_level(logging.WARNING):
        assert TASK.usual_metric([["I-a", "O"]]) == "entity_f1"
        assert "turned into IOB2" in caplog.text
        caplog.clear()
        TASK.usual_metric([["B-a", "I-a", "O"]])
        TASK.usual_metric([["NOUN", "VERB"]])
    assert not caplog.text


def test_the_metric_is_told_by_the_tags():
    rows = [{"tokens": ["a", "b"], "tags": ["B-x", "O"]}] * 20
    assert tasks.choose(Table("t", {"train": rows})).metric == "entity_f1"
    plain = [{**row, "tags": ["NOUN", "VERB"]} for row in rows]
    assert tasks.choose(Table("t", {"train": plain})).metric == "accuracy"
    assert tasks.choose(Table("t", {"train": plain}), metric="macro_f1").metric == "macro_f1"


# scores

TRUTH = [["B-per", "I-per", "O", "B-loc"], ["O", "O"], ["B-loc", "I-loc", "B-per"]]
SAID = [["B-per", "I-per", "O", "B-per"], ["B-loc", "O"], ["B-loc", "O", "B-per"]]


def test_entity_f1_counts_spans_that_match_in_type_and_both_ends():
    # true: per 0-2, loc 3-4 | | loc 0-2, per 2-3; said: per 0-2, per 3-4 | loc 0-1 | loc 0-1, per 2-3; two match
    measured = TASK.measure(TRUTH, SAID)
    assert measured["entity_f1"] == pytest.approx(2 * 2 / (4 + 5))
    assert measured["macro_f1"] == pytest.approx((2 * 2 / (2 + 3) + 0) / 2)
    assert measured["accuracy"] == pytest.approx(6 / 9)
    once = np.ones((1, 3))
    assert TASK.resampled(TRUTH, SAID, once, metric="precision:per")[0] == pytest.approx(2 / 3)
    assert TASK.resampled(TRUTH, SAID, once, metric="recall:per")[0] == 1
    assert TASK.resampled(TRUTH, SAID, once, metric="f1:loc")[0] == 0


def test_weights_of_rows_are_the_same_as_repeating_them():
    counts = np.array([[2, 0, 1], [0, 3, 1]])
    for metric in ("entity_f1", "macro_f1", "accuracy", "f1:per"):
        drawn = TASK.resampled(TRUTH, SAID, counts, metric=metric)
        for weights, value in zip(counts, drawn, strict=True):
            places = np.repeat(np.arange(3), weights)
            again = TASK.resampled([TRUTH[i] for i in places], [SAID[i] for i in places],
                                   np.ones((1, len(places))), metric=metric)  # fmt: skip
            assert value == pytest.approx(again[0])


def test_plain_tags_are_scored_word_by_word():
    task = registry.task("token_classification")(metric="accuracy")
    assert task.score([("N", "V"), ("N",)], [("N", "N"), ("N",)]) == pytest.approx(2 / 3)
    assert evaluate.per_tag([("N", "V"), ("N",)], [("N", "N"), ("N",)], ("N", "V"))["N"] == {
        "precision": pytest.approx(2 / 3), "recall": 1.0, "f1": pytest.approx(0.8), "rows": 2,
    }  # fmt: skip


def test_spans_are_counted_by_type_for_the_card():
    found = evaluate.per_tag(TRUTH, SAID, ("loc", "per"))
    assert {label: facts["rows"] for label, facts in found.items()} == {"loc": 2, "per": 2}
    assert found["per"]["recall"] == 1


# decoding


def is_legal(found):
    return all(tags.follows(before, tag) for before, tag in zip([None, *found], found, strict=False))


def test_the_best_legal_sequence_is_found_whatever_the_scores():
    rng = np.random.default_rng(0)
    lengths = np.array([3, 0, 4, 1, 2, 4])
    scores = rng.normal(0, 3, (int(lengths.sum()), len(LABELS))).astype(np.float32)
    best = likeliest_tags(scores, lengths, LABELS)
    for end, length in zip(np.cumsum(lengths), lengths, strict=True):
        here = scores[end - length : end]
        legal = [path for path in itertools.product(range(len(LABELS)), repeat=int(length))
                 if is_legal([LABELS[i] for i in path])]  # fmt: skip
        wanted = max(legal, key=lambda path: sum(here[i, p] for i, p in enumerate(path)))  # noqa: B023
        assert tuple(best[end - length : end]) == wanted


def test_a_chain_of_tags_moves_the_best_sequence_to_what_training_has_seen():
    rng = np.random.default_rng(1)
    seen = [["B-per", "I-per", "I-per", "O"]] * 9 + [["O", "B-loc"]] * 9
    links = chain_of(seen, LABELS)
    place = {label: number for number, label in enumerate(LABELS)}
    assert links[1 + place["B-per"], place["I-per"]] > 0.7  # twice as likely as elsewhere, at least
    assert links[1 + place["B-per"], place["O"]] < -0.7
    assert links[0, place["B-per"]] > 0.7
    lengths = np.array([4, 0, 1, 3])
    scores = rng.normal(0, 1, (8, len(LABELS))).astype(np.float32)
    best = likeliest_tags(scores, lengths, LABELS, links=links)
    for end, length in zip(np.cumsum(lengths), lengths, strict=True):
        here, paths = scores[end - length : end], itertools.product(range(len(LABELS)), repeat=int(length))
        legal = [path for path in paths if is_legal([LABELS[i] for i in path])]

        def worth(path):
            told = sum(here[i, p] for i, p in enumerate(path))  # noqa: B023
            return told + sum(links[b, a] for b, a in zip((0, *(1 + p for p in path)), path, strict=False))

        assert tuple(best[end - length : end]) == max(legal, key=worth)


def test_a_chain_is_kept_where_it_helps_on_validation_and_left_where_it_does_not():
    first, second = (("x", "y"), ("DET", "NOUN")), (("y", "x"), ("NOUN", "VERB"))
    plain_rows = [{"tokens": words_of, "tags": found} for words_of, found in (first, second, second, first) * 9]
    labels = ("DET", "NOUN", "VERB")
    one, other = [[0.5, 0, 0], [0, 0.5, 0.51]], [[0, 0.5, 0], [0, 0.1, 0.3]]
    torn = np.array([*one, *other, *other, *one] * 9, dtype=np.float32)
    learned = [row["tags"] for row in plain_rows]
    task = registry.task("token_classification")(metric="accuracy")
    tuned = calibrate.chained(task, Decision("tags", labels, ("tokens",)), torn, plain_rows, learned=learned)
    assert tuned.chain_weight > 0
    assert task.score(learned, [a.judged for a in tuned.answers(torn, plain_rows)]) == 1
    assert Decision.from_json(json.loads(json.dumps(asdict(tuned)))) == tuned
    right = np.eye(3, dtype=np.float32)[[0, 1, 1, 2, 1, 2, 0, 1] * 9]
    assert not calibrate.chained(task, Decision("tags", labels, ("tokens",)), right, plain_rows, learned=learned).chain


def test_a_decision_that_was_written_before_there_were_chains_is_read():
    old = {"head": "tags", "labels": ["A", "B"], "inputs": ["tokens"], "temperature": 1.0, "thresholds": []}
    assert Decision.from_json(old) == Decision("tags", ("A", "B"), ("tokens",))


def test_no_illegal_sequence_comes_out_even_where_all_scores_ask_for_it():
    scores = np.zeros((200, len(LABELS)), dtype=np.float32)
    scores[:, LABELS.index("I-loc")] = 9
    found = Decision("tags", LABELS, ("tokens",)).answers(scores, [{"tokens": ("x",) * 200}])
    assert is_legal(found[0].tags)
    assert len(found[0].value) == 1


def test_plain_tags_may_follow_one_another_in_any_order():
    scores = np.eye(3, dtype=np.float32)
    answer = Decision("tags", ("ADJ", "NOUN", "VERB"), ("tokens",)).answers(scores, [{"tokens": ("a", "b", "c")}])[0]
    assert answer.value == answer.tags == ("ADJ", "NOUN", "VERB")


def test_an_answer_has_spans_offsets_tags_and_a_probability():
    scores = 20 * np.eye(5, dtype=np.float32)[[1, 3, 4, 0]]
    given = [{"tokens": "Ann Lee, Oslo"}, {"tokens": ()}]
    found, empty = Decision("tags", LABELS, ("tokens",)).answers(scores, given)
    assert found.value == (Span("per", "Ann Lee", 0, 7), Span("loc", "Oslo", 9, 13))
    assert found.offsets == ((0, 3), (4, 7), (7, 8), (9, 13))
    assert found.tags == ("B-per", "I-per", "O", "B-loc")
    assert found.probability == pytest.approx(1, abs=1e-6)
    assert empty == Answer((), 1.0, (), ())


# windows


@pytest.fixture(scope="module")
def reader(checkpoint):
    found = body.tokenizer(catalog.find(checkpoint), max_tokens=16)
    found.no_truncation()
    return found


def long_row(n):
    return tuple(np.random.default_rng(n).choice(["the", "parcel", "zqx", "never", "12345678", "arrived", "\x07"], n))


@pytest.mark.parametrize("n_words", [1, 5, 14, 15, 40, 333])
def test_every_word_is_read_whole_in_one_window_however_long_the_row(reader, n_words):
    rows = [long_row(n_words), (), long_row(3)]
    read = windows(reader, rows, max_tokens=16)
    assert read.lengths.max() <= 16
    assert read.n_words == n_words + 3
    assert not read.cut_short.any()
    told = [[] for _ in range(read.n_words)]
    for place in range(len(read.ids)):
        which, of = read.gather(np.array([place]), 16)
        for token, word in zip(which, read.words_of(np.array([place]))[of], strict=True):
            told[word].append(int(read.ids[place][token]))
    alone = [reader.encode(word, add_special_tokens=False).ids for row in rows for word in row]
    assert told == alone


def test_words_in_the_middle_of_a_long_row_are_read_with_words_on_both_sides(reader):
    read = windows(reader, [("the",) * 100], max_tokens=16)
    for place in range(1, len(read.ids) - 1):
        which, _ = read.gather(np.array([place]), 16)
        assert which.min() > 1
        assert which.max() < read.lengths[place] - 2


def test_a_word_too_long_for_a_window_is_read_as_far_as_it_fits_and_counted(reader):
    read = windows(reader, [("the", "z" * 50, "parcel"), ("the",)], max_tokens=16)
    assert read.cut_short.tolist() == [True, False]
    assert read.n_words == 4


def test_features_of_a_word_are_the_mean_over_its_tokens(reader):
    read = windows(reader, [("the", "zq", "\x07"), ("parcel",)], max_tokens=16)
    states = np.arange(2 * 5 * 2, dtype=np.float32).reshape(2, 5, 2)
    found = read.means(states, np.array([1, 0]))  # in the order of the batch
    assert np.array_equal(found, [states[0, 1], states[1, 1], states[1, 2:4].mean(0), [0, 0]])


def test_the_same_tokens_in_other_words_have_features_of_their_own(checkpoint, reader, tmp_path):
    found = catalog.find(checkpoint)
    reads = [windows(reader, [row], max_tokens=16) for row in (("the-end",), ("the", "-", "end"))]
    assert reads[0].ids[0].tolist() == reads[1].ids[0].tolist()
    one, three = (stored.word_features(body.load(found), found, read, layers=[1, 2], folder=tmp_path) for read in reads)
    assert (one.shape, three.shape) == ((2, 1, 32), (2, 3, 32))


# data


def test_rows_whose_tokens_and_tags_differ_in_number_are_set_aside_and_the_others_used():
    rows = testing.rows("token_classification", 60)
    rows[3] = {"tokens": rows[3]["tokens"], "tags": rows[3]["tags"][:-1]}
    rows[4] = {"tokens": (), "tags": ()}
    rows[5] = {"tokens": ("a", None), "tags": ("O", "O")}
    rows[6] = {"tokens": ("a", "b"), "tags": ("B-x", "NOUN")}
    splits = data.split(Table("t", {"train": rows}), TASK)
    n = len(rows[3]["tokens"])
    reasons = {row.number: row.reason for row in splits.set_aside}
    assert reasons == {4: f"{n} tokens, but {n - 1} tags", 5: "no words", 6: "a NoneType for a word: None",
                       7: "tags of two kinds: B-x and NOUN"}  # fmt: skip
    assert len(splits.train) + len(splits.validation) + len(splits.test) == 56


def test_where_no_row_has_a_tag_a_word_the_error_says_so():
    rows = [{**row, "tags": [*row["tags"], "O"]} for row in testing.rows("token_classification", 30)]
    table = Table("t", {"train": rows})
    with pytest.raises(DataError, match=r"\d tokens, but \d+ tags"):
        data.split(table, tasks.choose(table))


def test_one_tag_for_all_words_is_refused():
    rows = [{"tokens": ("a",) * (2 + i % 3), "tags": ("O",) * (2 + i % 3)} for i in range(40)]
    with pytest.raises(DataError, match="two different values"):
        data.split(Table("t", {"train": rows}), TASK)


CONLL = "-DOCSTART- -X- O\n\nAnn NNP B-per\nLee NNP I-per\n\n\nsaw VBD O\nOslo NNP B-loc\n"


def test_a_word_a_line_is_read_as_the_conll_tasks_give_it(tmp_path):
    (tmp_path / "train.conll").write_text(CONLL)
    (tmp_path / "valid.bio").write_text("New York\tB-loc\n")
    (tmp_path / "words.conll").write_text("Ann\nsaw\n")
    assert data.rows(tmp_path / "train.conll") == [
        {"tokens": ["Ann", "Lee"], "tags": ["B-per", "I-per"]}, {"tokens": ["saw", "Oslo"], "tags": ["O", "B-loc"]},
    ]  # fmt: skip
    assert data.rows(tmp_path / "valid.bio") == [{"tokens": ["New York"], "tags": ["B-loc"]}]
    assert data.rows(tmp_path / "words.conll") == [{"tokens": ["Ann", "saw"]}]


COMMENTED = """# global.columns = FORM TAG
-DOCSTART-	O

# sent_id = 1
# text = # one Ann
#	O
#one	B-per
Ann	I-per
# newpar
saw	O
"""


@pytest.mark.parametrize("gap", ["\t", " "])
def test_comments_are_passed_over_but_hashes_that_are_words_are_read(tmp_path, gap):
    (tmp_path / "a.conll").write_text(COMMENTED.replace("\t", gap))
    words_of = ["#", "#one", "Ann", "saw"]
    assert data.rows(tmp_path / "a.conll") == [{"tokens": words_of, "tags": ["O", "B-per", "I-per", "O"]}]


def test_a_line_with_other_columns_is_named(tmp_path):
    (tmp_path / "a.conll").write_text("Ann B-per\nLee\n")
    with pytest.raises(DataError, match=r"2 columns.*1 in .*line 2"):
        read_file(from_path(tmp_path / "a.conll"), format="conll")


# models


def plain(row):
    kinds = {"the": "DET", "a": "DET", "is": "VERB", "arrived": "VERB"}
    return {"tokens": row["tokens"], "tags": tuple(kinds.get(word, "OTHER") for word in row["tokens"])}


def fitted(family, checkpoint, folder, *, part=None, params=None):
    maker, part = registry.family(family), part or testing.fold(TASK.name, 90)
    candidate = maker.propose(TASK, testing.facts(TASK, part), [checkpoint])[-1].having(params or {})
    return maker.fit(candidate, TASK, part, state=folder / "state", until=150, monitor=lambda *_: None, seed=0), part


def reached(model, rows):
    answers = model.predict(rows)
    assert all(is_legal(answer.tags) for answer in answers)
    return TASK.score(TASK.targets(rows), [answer.judged for answer in answers])


def test_a_linear_model_learns_to_tag_by_words_and_their_neighbours(tmp_path):
    model, part = fitted("linear", "", tmp_path)
    assert reached(model, part.validation) > 0.8


def test_fine_tuning_learns_to_tag_even_a_tiny_checkpoint(checkpoint, tmp_path):
    model, part = fitted("encoder", checkpoint, tmp_path, params={"learning_rate": 5e-3})
    assert reached(model, part.train) > 0.95


def test_features_of_a_checkpoint_tell_words_apart(checkpoint, tmp_path):
    part = testing.fold(TASK.name, 90)
    part = Fold(list(map(plain, part.train)), list(map(plain, part.validation)))
    model, _ = fitted("frozen", checkpoint, tmp_path, part=part)
    assert reached(model, part.validation) > 0.85


def test_a_text_is_tagged_with_spans_where_they_stand_in_it(tmp_path):
    model, _ = fitted("linear", "", tmp_path)
    text = "hello,   the parcel never arrived today!"
    answer, same, listed = model.predict([text, {"tokens": text}, {"tokens": list(words.words_of(text))}])
    assert answer == same
    assert answer.value == (Span("delivery", "the parcel never arrived", 9, 33),)
    assert listed.tags == answer.tags
    assert listed.value == (Span("delivery", "the parcel never arrived", 8, 32),)
    assert model.predict(["", {"tokens": []}]) == [Answer((), 1.0, (), ())] * 2


def test_a_row_that_is_neither_text_nor_words_is_refused(tmp_path):
    model, _ = fitted("linear", "", tmp_path)
    with pytest.raises(UsageError, match="row 2"):
        model.predict(["fine", {"tokens": [1, 2]}])


def test_the_graph_reads_long_rows_as_torch_does(checkpoint, tmp_path):
    model, _ = fitted("frozen", checkpoint, tmp_path)
    model.save(tmp_path)
    stored = type(model).load(tmp_path)
    rows = [{"tokens": long_row(200)}, {"tokens": "the parcel"}]
    np.testing.assert_allclose(stored.scores(rows), model.scores(rows), atol=1e-3)
    assert len(stored.scores(rows)) == 202
    assert stored.truncated(rows) == 0


def test_a_layer_of_three_heights_or_four_is_looked_at():
    assert [heights(n) for n in (1, 2, 6, 12)] == [[1], [1, 2], [2, 3, 4, 6], [4, 6, 8, 12]]


def test_a_linear_tagger_goes_on_with_words_it_did_not_know(tmp_path):
    model, _ = fitted("linear", "", tmp_path)
    assert isinstance(model, WordWindow)
    fresh = [{"tokens": ("Quixotic", "zeppelins")}]
    grown = model.knowing(fresh)
    assert len(grown.kept) > len(model.kept)
    old = testing.rows(TASK.name, 5)
    np.testing.assert_allclose(grown.scores(old), model.scores(old), atol=1e-6)
    assert set(hashed([fresh[0]["tokens"]]).indices) <= set(grown.kept.tolist())


# end to end


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tagged")
    rows = [{"words": list(row["tokens"]), "ner": list(row["tags"])} for row in testing.rows(TASK.name, 200)]
    rows[0]["ner"] = rows[0]["ner"][:-1]
    file = folder / "parcels.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file, api.fit(file, constraints=Constraints("60s"), out=folder / "parcels.cutler",
                         families=("majority", "linear"), threads=1)  # fmt: skip


def test_fit_recognises_words_and_tags_and_ships_a_tagger(found):
    _, model = found
    card = model.card
    assert (card["task"], card["metric"], card["head"]) == ("token_classification", "entity_f1", "tags")
    assert card["columns"] == {"tokens": "words", "tags": "ner"}
    assert card["test"]["metrics"]["entity_f1"]["value"] > 0.8
    assert set(card["test"]["per_label"]) == {"billing", "delivery", "login"}
    assert set(card["profile"]["classes"]) == {"billing", "delivery", "login"}
    assert card["profile"]["set_aside"] == 1
    assert "CUT004" in {finding["code"] for finding in card["findings"]}
    assert 'pipeline_tag: "token-classification"' in (model.folder / "card.md").read_text()


def test_a_bundle_answers_texts_words_and_rows_of_the_file(found):
    _, model = found
    given = ["the parcel never arrived", ("the", "parcel", "never", "arrived"), {"text": "the parcel never arrived"},
             {"words": ["the", "parcel", "never", "arrived"]}]  # fmt: skip
    answers = bundle.read(model.folder).predict(given)
    assert [answer.value for answer in answers] == [(Span("delivery", "the parcel never arrived", 0, 24),)] * 4
    assert model.probabilities(given[:2]).shape == (8, len(model.labels))


def test_it_can_be_evaluated_and_goes_on_learning(found, tmp_path):
    file, model = found
    measured = model.evaluate(file)
    assert measured["metrics"]["entity_f1"]["value"] > 0.8
    assert measured["set_aside"] == 1
    new = [{"tokens": ("a", "wombat", "bit", "me"), "tags": ("O", "B-animal", "O", "O")}] * 20
    again = model.fine_tune([*new, *testing.rows(TASK.name, 20, seed=5)], out=tmp_path / "newer.cutler", budget="30s")
    assert "B-animal" in again.labels
    assert again.predict(["a wombat bit me"])[0].value == (Span("animal", "wombat", 2, 8),)


def lines_of(result):
    assert result.exit_code == 0, result.output
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_the_command_line_tags_lines_of_text_and_rows_of_words(found, tmp_path):
    _, model = found
    wanted = {"label": "delivery", "text": "the parcel never arrived", "start": 0, "end": 24}
    (tmp_path / "rows.jsonl").write_text(json.dumps({"words": ["the", "parcel", "never", "arrived"]}) + "\n")
    (tmp_path / "rows.conll").write_text("the\nparcel\nnever\narrived\n")
    run = CliRunner()
    told = lines_of(run.invoke(app, ["predict", str(model.folder)], input="the parcel never arrived.\nhello\n"))
    assert told[0]["answer"] == [wanted]
    assert told[0]["tags"] == ["B-delivery", "I-delivery", "I-delivery", "I-delivery", "O"]
    assert told[0]["offsets"][-1] == [24, 25]
    assert told[1]["answer"] == []
    for name in ("rows.jsonl", "rows.conll"):
        assert lines_of(run.invoke(app, ["predict", str(model.folder), str(tmp_path / name)]))[0]["answer"] == [wanted]
    refused = run.invoke(app, ["predict", str(model.folder), str(tmp_path / "rows.jsonl"), "--top", "2"])
    assert refused.exit_code == 2


@pytest.mark.parametrize("name", ["answers.csv", "answers.parquet"])
def test_spans_are_written_beside_the_rows(found, tmp_path, name):
    _, model = found
    rows = [{"words": ["the", "parcel", "never", "arrived"]}, {"words": ["hello"]}]
    answers = model.predict(rows)
    data.write(rows, answers, tmp_path / name)
    back = data.rows(tmp_path / name)
    first = back[0]["answer"]
    assert (json.loads(first) if isinstance(first, str) else first)[0]["label"] == "delivery"


def test_plain_tags_are_answered_as_they_are_and_confused_by_word(tmp_path):
    rows = [plain(row) for row in testing.rows(TASK.name, 160)]
    model = api.fit(rows, constraints=Constraints("60s"), out=tmp_path / "plain.cutler",
                    families=("majority", "linear"), threads=1)  # fmt: skip
    card = model.card
    assert card["metric"] == "accuracy"
    n_words = sum(facts["rows"] for facts in card["test"]["per_label"].values())
    assert sum(map(sum, card["test"]["confusion"])) == n_words
    assert model.predict(["the parcel"])[0].value == ("DET", "OTHER")


def test_wrong_answers_are_shown_as_spans():
    rows = [{"tokens": ("Ann", "saw", "Oslo"), "tags": ("B-per", "O", "B-loc")}] * 8
    decision = Decision("tags", LABELS, ("tokens",))
    scores = np.tile(9 * np.eye(5, dtype=np.float32)[[1, 4, 4]], (8, 1))

    class Fixed:
        def predict(self, given):
            return decision.answers(scores, given)

    seen = evaluate.on_test(Fixed(), TASK, rows, floors={}, examples=True, seed=0)
    assert seen.errors[0]["text"] == "Ann saw Oslo"
    assert seen.errors[0]["truth"] == (Span("per", "Ann", 0, 3), Span("loc", "Oslo", 8, 12))
    assert seen.errors[0]["answer"] == (Span("per", "Ann", 0, 3),)
    assert seen.metrics["entity_f1"].value == pytest.approx(2 / 3)


def test_words_of_a_text_stay_in_one_fold_of_an_ensemble():
    from cutler.combine.ensemble import _Weighing

    part = Fold((), testing.rows(TASK.name, 12))
    labels = sorted({tag for row in part.validation for tag in row["tags"]})
    weighing = _Weighing(TASK, part.validation, labels)
    lengths = [len(row["tags"]) for row in part.validation]
    assert len(weighing.coded) == len(weighing.fold) == sum(lengths)
    assert all(len(set(fold)) == 1 for fold in np.split(weighing.fold, np.cumsum(lengths)[:-1]))
