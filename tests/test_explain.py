"""Which words carried an answer: exact where scores add up, measured everywhere, refused where it cannot be told."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
from typer.testing import CliRunner

import cutler
from cutler import api, bundle, cli, explain, registry, testing
from cutler.errors import MissingPackage, UsageError
from cutler.explain import asked, faithful, pieces
from cutler.models import added
from cutler.models.base import Fitted
from cutler.types import COLUMNS, Answer, Candidate, Constraints, Piece

LIMITS = Constraints("60s")
NEW = testing.rows("text_classification", 12, seed=9)


def fitted(task, folder, *, family="linear", checkpoints=(), n=150, plan=None, **given):
    families = (family,) if family in ("majority", "linear") else (family, "majority")
    return cutler.fit(testing.rows(task, n), task=task, families=families, checkpoints=checkpoints, threads=1,
                      constraints=LIMITS, out=folder / "model.cutler", **given)  # fmt: skip


def model_of(family, task, folder, params=(), checkpoint=""):
    """A model of this family that was fitted on sample rows of a task."""
    asks, fold = registry.task(task)(), testing.fold(task, 90)
    folder.mkdir(exist_ok=True)
    return asks, registry.family(family).fit(Candidate(family, checkpoint, params), asks, fold, state=folder, until=4,
                                             monitor=lambda *_: None, seed=0)  # fmt: skip


@pytest.fixture(scope="module")
def linear(tmp_path_factory):
    return fitted("text_classification", tmp_path_factory.mktemp("linear"), features=())  # or time decides on columns


# --- exact


@pytest.mark.parametrize("ngrams", ["word", "word+char"])
@pytest.mark.parametrize("task", ["text_classification", "multi_label_classification", "text_regression"])
def test_what_words_add_is_the_score_less_what_is_there_without_them(task, ngrams, tmp_path):
    asks, model = model_of("linear", task, tmp_path / "state", {"ngrams": ngrams})
    texts = ["My PARCEL, never arrived... at all", "İstanbul: the invoice shows a wrong amount!!", "早上好 parcel late",
             "a\u2029b code\x1cwas never accepted", "x"]  # fmt: skip
    for text in texts:
        row = {"text": text}
        found = added.of_row(model, row, range(max(len(model.labels), 1)))
        scores = model.scores([row])[0]
        assert found.letters["text"].sum(axis=0) + model.head.bias == pytest.approx(scores, abs=1e-4)


def test_a_reason_holds_its_words_with_their_places(linear):
    (found,) = linear.explain(["good morning, the parcel never arrived"])
    (reason,) = found.reasons
    assert found.way == "exact"
    assert reason.of == found.answer.value == "delivery"
    assert [piece.text for piece in reason.pieces] == ["good", "morning", ",", "the", "parcel", "never", "arrived"]
    assert all("good morning, the parcel never arrived"[p.start : p.end] == p.text for p in reason.pieces)
    assert sum(piece.weight for piece in reason.pieces) + reason.base == pytest.approx(reason.score)
    assert reason.first(1)[0].text in ("parcel", "never", "arrived")
    bias = linear.model.head.bias[linear.labels.index("delivery")]
    assert reason.base == pytest.approx(bias, abs=1e-4)


def test_columns_add_their_share(tmp_path):
    asks, model = model_of("linear", "text_classification", tmp_path / "state", {"ngrams": "word", "columns": True})
    row = testing.rows("text_classification", 3)[1]
    found = added.of_row(model, row, [0, 1, 2])
    total = found.letters["text"].sum(axis=0) + sum(found.columns.values()) + model.head.bias
    assert total == pytest.approx(model.scores([row])[0], abs=1e-4)
    (told,) = explain.rows(model, asks, [row])
    assert {piece.role for piece in told.reasons[0].pieces} == {"text", *row[COLUMNS]}


def test_vectors_of_tokens_add_up(checkpoint, tmp_path):
    _, model = model_of("static", "text_classification", tmp_path / "state", {"width": 8}, checkpoint)
    row = {"text": "The courier, left the box outside!"}
    found = added.of_row(model, row, [0, 1, 2])
    assert found.letters["text"].sum(axis=0) + model.head.bias == pytest.approx(model.scores([row])[0], abs=1e-3)


def test_words_around_a_word_add_to_its_tag(tmp_path):
    _, model = model_of("linear", "token_classification", tmp_path / "state", {"around": 2})
    row = {"tokens": ("hello", "my", "account", "is", "locked", "locked", "today")}
    scores = model.scores([row])
    for word in range(7):
        for label in range(len(model.labels)):
            beyond = sum(share for step, share in added.told_by(model, row["tokens"], word, label)
                         if not 0 <= word + step < 7)  # fmt: skip
            told = added.of_word(model, row, word, label).sum() + beyond + model.head.bias[label]
            assert told == pytest.approx(scores[word, label], abs=1e-4)


def test_an_ensemble_of_sums_is_a_sum():
    from cutler.models.base import Decision
    from cutler.models.constant import Constant
    from cutler.models.ensemble import Ensemble

    decision = Decision("class", ("a", "b"), ("text",))
    member = Constant(Candidate("majority"), decision, score=np.float32([1, 0]))
    model = Ensemble(Candidate("ensemble"), decision, members=[member, member], weights=np.float32([1, 2]))
    assert added.adds_up(model, ("text",))
    assert added.of_row(model, {"text": "abc"}, [0]).letters["text"].shape == (3, 1)


# --- taken out


class Counting(Fitted):
    """Scores of one label by how often a word stands in the text; counts what it is asked."""

    format = "counting"

    def __init__(self, word, head="class"):
        from cutler.models.base import Decision

        super().__init__(Candidate("counting"), Decision(head, ("no", "yes"), ("text",)))
        self.word, self.calls = word, []

    def scores(self, rows):
        self.calls.append(len(rows))
        counts = np.array([row["text"].split().count(self.word) for row in rows], dtype=float)
        return np.stack([np.zeros(len(rows)), 2 * counts - 1], axis=1)

    @classmethod
    def restore(cls, *_):
        raise NotImplementedError


CLASSES = registry.task("text_classification")()


def test_the_word_that_decides_is_found_by_taking_it_out():
    model = Counting("gold")
    (found,) = explain.rows(model, CLASSES, [{"text": "all that is gold does not glitter at all"}])
    (reason,) = found.reasons
    assert (found.way, found.answer.value) == ("occlusion", "yes")
    assert [piece.text for piece in reason.first(9)] == ["gold"]
    assert reason.first(1)[0].weight == pytest.approx(2.0)
    assert reason.faithfulness.drop > reason.faithfulness.random + 0.1


def test_all_variants_are_asked_in_one_call_and_long_texts_in_a_bounded_number():
    model = Counting("gold")
    explain.rows(model, CLASSES, [{"text": "word " * 5000 + "gold"}], measure=False)
    assert len(model.calls) == 2  # the answer, and the variants with the row itself and the row without any piece
    assert model.calls[1] <= pieces.MOST + 2


def test_words_on_end_are_one_piece_where_a_text_is_long():
    found = pieces.of_row({"text": "a b c d e f g h i j"}, ("text",), most=4)
    assert [piece.text for piece in found] == ["a b c", "d e f", "g h i", "j"]
    left = pieces.without({"text": "a b c d e f g h i j"}, [found[1], found[3]])
    assert left["text"].split() == ["a", "b", "c", "g", "h", "i"]


def test_what_stays_parts_the_words_and_is_never_taken_out():
    found = pieces.of_row({"text": "a b c d"}, ("text",), most=2, staying=[("text", 2, 3)])
    assert [piece.text for piece in found] == ["a", "c d"]


def test_a_column_is_taken_out_by_its_name():
    row = {"text": "a b", COLUMNS: {"hour": 3.0, "tags": ("x", "y")}}
    found = pieces.of_row(row, ("text",))
    assert [(piece.role, piece.text) for piece in found[2:]] == [("hour", "3.0"), ("tags", "x, y")]
    assert pieces.without(row, found[2:3])[COLUMNS] == {"tags": ("x", "y")}
    assert row[COLUMNS]["hour"] == 3.0


@pytest.mark.parametrize("text", ["", " \t ", "…", "one", "two words"])
def test_texts_with_hardly_a_word_are_explained_without_a_measure(linear, text):
    (found,) = linear.explain([{"text": text}])
    assert found.reasons[0].faithfulness is None


def test_of_several_labels_each_has_its_reason_and_none_the_nearest():
    from cutler.models.base import Decision
    from cutler.models.constant import Constant

    asks = registry.task("multi_label_classification")()
    both, neither = (
        Constant(Candidate("majority"), Decision("classes", ("a", "b"), ("text",)), score=np.float32(score))
        for score in ([2, 1], [-2, -1])
    )
    assert [reason.of for reason in explain.rows(both, asks, [{"text": "x"}])[0].reasons] == ["a", "b"]
    assert [reason.of for reason in explain.rows(neither, asks, [{"text": "x"}])[0].reasons] == ["b"]


def test_a_pair_is_explained_by_the_words_of_both(tmp_path):
    asks, model = model_of("linear", "text_pair_classification", tmp_path / "state", {"ngrams": "word"})
    row = testing.rows("text_pair_classification", 4)[2]
    (found,) = explain.rows(model, asks, [row])
    assert found.way == "occlusion"
    assert {piece.role for piece in found.reasons[0].pieces} == {"text", "text_pair"}


def test_the_words_around_an_answer_are_told_but_not_the_answer(tmp_path):
    asks, model = model_of("linear", "question_answering", tmp_path / "state", {"of": "sentences"})
    row = next(row for row in testing.rows("question_answering", 12) if row["answers"])
    (found,) = explain.rows(model, asks, [row])
    (start, end), (reason,) = found.answer.offsets[0], found.reasons
    assert {piece.role for piece in reason.pieces} == {"question", "context"}
    assert not [piece for piece in reason.pieces
                if piece.role == "context" and piece.start < end and start < piece.end]  # fmt: skip
    assert reason.score == pytest.approx(found.answer.probability)


def test_a_span_is_explained_by_the_words_that_bear_it(tmp_path):
    asks, model = model_of("linear", "token_classification", tmp_path / "state", {"around": 2})
    rows = testing.rows("token_classification", 6, seed=3)
    told = explain.rows(model, asks, [*rows, {"tokens": "hello, my account is locked"}])
    assert all(len(each.reasons) == len(each.answer.value) for each in told)
    named = [reason for each in told for reason in each.reasons]
    assert named
    assert all(": " in reason.of and reason.faithfulness for reason in named)
    gains = [reason.faithfulness.gain for reason in named]
    assert np.mean(gains) > 0


def test_a_document_is_explained_by_the_words_of_the_query(tmp_path):
    pytest.importorskip("bm25s")
    asks, fold = registry.task("text_retrieval")(), testing.fold("text_retrieval", 60)
    family = registry.family("bm25")
    candidate = family.propose(asks, testing.facts(asks, fold), ())[0]
    (tmp_path / "state").mkdir()
    model = family.fit(candidate, asks, fold, state=tmp_path / "state", until=1, monitor=lambda *_: None, seed=0)
    (found,) = explain.rows(model, asks, [{"query": "hello, the courier left the box outside"}])
    assert found.way == "exact"
    assert [reason.of for reason in found.reasons] == list(found.answer.value[: len(found.reasons)])
    for reason in found.reasons:
        assert sum(piece.weight for piece in reason.pieces) == pytest.approx(reason.score, abs=1e-4)


# --- how far it can be believed


def test_an_order_at_random_has_no_gain_and_a_reversed_one_a_loss():
    model, rng = Counting("gold"), np.random.default_rng(0)
    row = {"text": " ".join(f"w{n}" for n in range(19)) + " gold"}
    one = asked.of(model, row, Answer("yes", 0.7), whole_words=True)
    right = np.array([[float(piece.text == "gold")] for piece in one.pieces])
    best, worst = (faithful.measured(one, weights)[0].gain for weights in (right, -right))
    drawn = [faithful.measured(one, rng.random((20, 1)))[0].gain for _ in range(200)]
    assert best > 0.2 > worst
    assert worst < 0
    assert abs(np.mean(drawn)) < 0.05


def test_the_measure_is_the_same_each_time(linear):
    assert linear.explain([NEW[0]["text"]]) == linear.explain([NEW[0]["text"]])


# --- neighbours, errors, files


def test_near_training_rows_are_told_where_the_bundle_keeps_some(linear):
    text = linear.kept_rows()[5]["text"]
    (found,) = linear.explain([text], neighbours=2)
    assert len(found.neighbours) == 2
    assert found.neighbours[0].text == text
    assert found.neighbours[0].similarity == pytest.approx(1.0, abs=1e-4)
    assert linear.explain([text], neighbours=0)[0].neighbours == ()


def test_without_examples_none_is_shown(tmp_path):
    found = fitted("text_classification", tmp_path, examples=False)
    assert found.explain([NEW[0]["text"]])[0].neighbours == ()


def test_errors_on_the_card_tell_the_words_that_spoke_for_them(tmp_path):
    rows = [*testing.rows("text_classification", 200), *[{"text": f"the parcel is late, case {n}", "label": "login"}
                                                         for n in range(12)]]  # fmt: skip
    found = api.fit(rows, families=("linear",), constraints=LIMITS, threads=1, out=tmp_path / "m.cutler", seed=1)
    errors = [error for error in found.card["test"]["errors"] if "because" in error]
    assert errors or not found.card["test"]["errors"]
    for error in errors:
        assert all(word in error["text"] for word in error["because"])
        assert "went by:" in (found.folder / "card.html").read_text("utf-8")


def test_a_task_that_writes_is_refused(tmp_path):
    found = fitted("text_generation", tmp_path, family="majority")
    with pytest.raises(UsageError, match="which writes its answers"):
        found.explain(["hello"])


REFUSED = [({"way": "shap"}, "out of exact"), ({"way": "gradients"}, "transformer"),
           ({"attention": True}, "for attention")]  # fmt: skip


@pytest.mark.parametrize(("asked_for", "said"), REFUSED)
def test_what_cannot_be_told_is_refused(linear, asked_for, said):
    with pytest.raises(UsageError, match=said):
        linear.explain(["hello"], **asked_for)


def test_no_row_is_no_explanation(linear):
    assert linear.explain([]) == []


# --- a transformer


@pytest.fixture(scope="module")
def tuned(checkpoint, tmp_path_factory):
    """A bundle of an encoder that was trained for a few steps, with its weights."""
    folder = tmp_path_factory.mktemp("tuned")
    params = {"trained_layers": 2, "learning_rate": 1e-3, "joint": False, "max_tokens": 32}
    asks, model = model_of("encoder", "text_classification", folder / "state", params, checkpoint)
    (folder / "model").mkdir()
    model.save(folder / "model")
    return api.Chosen.of(bundle.write(folder / "m.cutler", task=asks, model=folder / "model", files={}, weights=True))


def test_attention_has_a_weight_for_every_pair_of_tokens(tuned):
    (found,) = tuned.explain(["the parcel never arrived"], attention=True)
    weights = np.array(found.attention.weights)
    assert weights.shape[2] == weights.shape[3] == len(found.attention.tokens)
    assert weights.sum(axis=-1) == pytest.approx(1.0, abs=2e-3)


def test_gradients_add_up_to_the_score_over_nothing(tuned):
    pytest.importorskip("captum")
    (found,) = tuned.explain(["the parcel never arrived"], way="gradients")
    (reason,) = found.reasons
    place = tuned.labels.index(found.answer.value)
    assert reason.score == pytest.approx(float(tuned.scores(["the parcel never arrived"])[0, place]), abs=1e-3)
    total = sum(piece.weight for piece in reason.pieces)
    assert total == pytest.approx(reason.score - reason.base, abs=0.1 * abs(reason.score - reason.base) + 1e-3)


def test_gradients_say_what_to_install(tuned, monkeypatch):
    monkeypatch.setitem(sys.modules, "captum.attr", None)
    monkeypatch.setitem(sys.modules, "captum", None)
    with pytest.raises(MissingPackage, match=r"cutler\[explain\]"):
        tuned.explain(["hello"], way="gradients")


def test_explaining_without_gradients_brings_no_torch(linear):
    code = ("import sys, cutler; model = cutler.load(sys.argv[1]); model.explain(['my parcel']); "
            "sys.exit('torch' in sys.modules or 'transformers' in sys.modules)")  # fmt: skip
    assert subprocess.run([sys.executable, "-c", code, str(linear.folder)], check=False).returncode == 0


# --- the command line


def test_the_command_tells_it_in_json_and_in_words(linear):
    command = ["explain", str(linear.folder), "--json", "--top", "2"]
    run = CliRunner().invoke(cli.app, command, input="my parcel is late\n")
    (line,) = run.stdout.splitlines()
    told = json.loads(line)
    assert (told["row"], told["answer"], told["way"]) == (1, "delivery", "exact")
    assert len(told["reasons"][0]["pieces"]) == 2
    assert set(told["reasons"][0]) == {"of", "score", "base", "pieces", "faithfulness"}
    plain = CliRunner().invoke(cli.app, ["explain", str(linear.folder)], input="my parcel is late\n")
    assert "delivery" in plain.stdout
    assert "parcel" in plain.stdout


def test_the_command_refuses_what_it_does_not_know(linear):
    run = CliRunner().invoke(cli.app, ["explain", str(linear.folder), "--way", "magic"], input="hello\n")
    assert run.exit_code == 2
    assert "exact, occlusion, gradients" in run.stderr


def test_a_piece_of_no_weight_is_not_among_the_first():
    from cutler.types import Reason

    found = Reason("a", 1.0, 0.0, (Piece("text", "x", 0, 1, 0.0), Piece("text", "y", 2, 3, -2.0)))
    assert [piece.text for piece in found.first(5)] == ["y"]
