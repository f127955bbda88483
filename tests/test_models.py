"""Stored formats beyond the contract: what a decision makes of scores, what is cut, what a static text's vector is."""

from __future__ import annotations

import json

import numpy as np
import pytest

from cutler import catalog, models, registry, testing
from cutler.errors import BundleError
from cutler.models import body, pairs, static
from cutler.models.base import Decision, Linear
from cutler.models.constant import Constant
from cutler.models.network import combine
from cutler.models.onnx import batches
from cutler.models.tfidf import Tfidf, features, vectorizer
from cutler.types import Candidate

ONE = Decision("class", ("a", "b"), ("text",))


def fitted(family, task, checkpoint, folder):
    """A model of a family's first candidate, read back from where it was saved."""
    asked, part = registry.task(task)(), testing.fold(task)
    maker = registry.family(family)
    candidate = maker.propose(asked, testing.facts(asked, part), [checkpoint])[0]
    model = maker.fit(candidate, asked, part, state=folder / "state", until=4, monitor=lambda *_: None, seed=0)
    (folder / "model").mkdir()
    model.save(folder / "model")
    return models.load(folder / "model")


def test_one_label_is_the_likeliest_with_its_probability():
    answers = ONE.answers(np.array([[0.0, np.log(3)], [2.0, 2.0]]))
    assert [answer.value for answer in answers] == ["b", "a"]
    assert [answer.probability for answer in answers] == pytest.approx([0.75, 0.5])


def test_several_labels_are_those_above_their_own_thresholds_and_the_probability_is_that_of_the_set():
    decision = Decision("classes", ("a", "b"), ("text",), thresholds=(0.5, -1.0))
    (answer,) = decision.answers(np.array([[0.4, 0.0]]))
    assert answer.value == ("b",)
    assert answer.probability == pytest.approx((1 - 1 / (1 + np.exp(-0.4))) * 0.5)


def test_a_number_has_no_probability():
    (answer,) = Decision("number", (), ("text",)).answers(np.array([[2.5]]))
    assert answer.value == 2.5
    assert np.isnan(answer.probability)


def test_large_scores_do_not_overflow():
    likely = ONE.probabilities(np.array([[1e5, -1e5]]))
    assert likely.tolist() == [[1.0, 0.0]]


def test_deciding_keeps_everything_else_as_it_was():
    model = Constant(Candidate("majority"), ONE, score=np.float32([1, 0])).deciding(temperature=2.0)
    assert (model.decision.temperature, model.decision.labels) == (2.0, ("a", "b"))


def test_a_format_that_is_not_known_is_refused(tmp_path):
    (tmp_path / "model.json").write_text(json.dumps({"format": "quantum"}), encoding="utf-8")
    with pytest.raises(BundleError, match="'quantum'"):
        models.load(tmp_path)


@pytest.mark.parametrize(("family", "stored"), [("majority", "constant"), ("linear", "tfidf"), ("static", "static"),
                                                ("frozen", "onnx"), ("encoder", "onnx")])  # fmt: skip
def test_a_family_is_stored_in_its_format_and_read_back_by_it(family, stored, checkpoint, tmp_path):
    model = fitted(family, "text_pair_classification", checkpoint, tmp_path)
    assert model.format == stored
    testing.check_model(model, testing.rows("text_pair_classification", 12), tmp_path / "again")


def test_an_onnx_graph_scores_as_the_network_it_was_made_from(checkpoint, tmp_path):
    asked, part = registry.task("text_classification")(), testing.fold("text_classification")
    maker = registry.family("encoder")
    candidate = maker.propose(asked, testing.facts(asked, part), [checkpoint])[-1]
    model = maker.fit(candidate, asked, part, state=tmp_path / "state", until=30, monitor=lambda *_: None, seed=0)
    (tmp_path / "model").mkdir()
    model.save(tmp_path / "model")
    assert models.load(tmp_path / "model").scores(part.train) == pytest.approx(model.scores(part.train), abs=1e-4)
    again = body.load(catalog.read(tmp_path / "model" / "transformers", name="again"))
    for name, tensor in model.body.state_dict().items():
        assert np.array_equal(again.state_dict()[name].numpy(), tensor.numpy()), name


def test_texts_that_are_not_read_whole_are_counted(checkpoint, tmp_path):
    model = fitted("frozen", "text_classification", checkpoint, tmp_path)
    long = {"text": "please help " * 200}
    assert model.truncated([{"text": "short"}, long, {"text": ""}, long]) == 0.5


def test_what_is_cut_off_does_not_change_a_score(checkpoint, tmp_path):
    model = fitted("frozen", "text_classification", checkpoint, tmp_path)
    one, other = ({"text": "please help " * 200 + end} for end in ("login", "invoice"))
    assert np.array_equal(model.scores([one]), model.scores([other]))


def test_batches_hold_every_place_once_within_the_token_budget():
    lengths = np.random.default_rng(0).integers(1, 600, 300).tolist()
    found = list(batches(lengths))
    assert sorted(np.concatenate(found).tolist()) == list(range(300))
    assert all(len(places) * max(lengths[i] for i in places) <= 2048 for places in found)
    assert [len(places) for places in batches([5000, 5000])] == [1, 1]


def test_a_static_vector_is_the_mean_at_unit_length_and_zero_for_nothing():
    vectors = np.float16([[3, 0], [0, 4], [1, 1]])
    found = static.average(vectors, [np.array([0, 1]), np.array([], dtype=int), np.array([2])])
    assert found == pytest.approx(np.array([[0.6, 0.8], [0, 0], [0.7071, 0.7071]]), abs=1e-3)
    assert static.average(vectors, [np.array([], dtype=int)]).tolist() == [[0, 0]]


def test_pairs_are_combined_alike_in_numpy_and_torch():
    import torch

    left, right = np.random.default_rng(0).normal(size=(2, 5, 4)).astype(np.float32)
    wanted = pairs.combine([left, right])
    assert wanted.shape == (5, 13)
    assert combine([torch.from_numpy(left), torch.from_numpy(right)]).numpy() == pytest.approx(wanted, abs=1e-5)
    assert np.isfinite(pairs.combine([np.zeros((1, 4)), np.ones((1, 4))])).all()


def test_a_body_cut_in_two_gives_what_the_whole_gives(checkpoint):
    import torch

    whole = body.load(catalog.find(checkpoint))
    batch = {"input_ids": torch.tensor([[2, 9, 8, 3], [2, 7, 3, 0]])}
    batch["attention_mask"] = torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0]])
    batch["token_type_ids"] = torch.zeros_like(batch["input_ids"])
    with torch.inference_mode():
        (wanted,) = body.run(whole, batch)
        (half,) = body.run(body.lower(whole, 1), batch)
        upper = {"inputs_embeds": half, "attention_mask": batch["attention_mask"]}
        (found,) = body.run(body.upper(whole, 1), upper)
    assert found.numpy() == pytest.approx(wanted.numpy(), abs=1e-5)
    assert whole.config.num_hidden_layers == 2


def test_a_linear_model_keeps_what_a_pair_shares_apart_from_what_each_side_has():
    from cutler.models import tfidf

    made = {"word": tfidf.vectorizer("word").fit(["red green blue"])}
    same, swapped, other = (
        tfidf.features(made, [{"text": "red green", "text_pair": pair}], ("text", "text_pair")).toarray()
        for pair in ("red green", "green red", "blue")
    )
    terms = len(made["word"].get_feature_names_out())
    assert same[0, terms : 3 * terms].sum() == 0
    assert same[0, -2] == pytest.approx(1, abs=1e-5)
    assert 0 < swapped[0, -2] < 1
    assert other[0, -2] == 0


@pytest.mark.parametrize("inputs", [("text",), ("text", "text_pair")])
def test_linear_that_learns_new_terms_scores_known_texts_as_before(inputs):
    texts = ["the parcel is late", "pay the bill", "a late bill"]
    rows = [{role: text for role in inputs} for text in texts]
    vectorizers = {name: vectorizer(name).fit(texts) for name in ("word", "char")}
    width = features(vectorizers, rows, inputs).shape[1]
    weight = np.random.default_rng(0).normal(size=(width, 2)).astype(np.float32)
    decision = Decision("class", ("a", "b"), inputs)
    head = Linear(weight, np.zeros(2, np.float32))
    known = Tfidf(Candidate("linear"), decision, vectorizers=vectorizers, head=head)
    grown = known.knowing(["zebra crossing"])
    assert np.allclose(known.scores(rows), grown.scores(rows), atol=1e-5)
    assert "zebra" in grown.vectorizers["word"].vocabulary
    assert grown.head.weight.shape[0] > width
