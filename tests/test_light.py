"""Small networks on token vectors: what they read, what of them learns, where their tokens come from."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from onnxruntime import InferenceSession

from cutler import bundle, catalog, going_on, measure, models, profile, registry, testing
from cutler.errors import UsageError
from cutler.families import _light
from cutler.models import body, light, spelling
from cutler.search.clock import Clock
from cutler.types import Fold, Splits

NAMES = ("convolutional", "recurrent")
KINDS = (light.Convolutions, light.Recurrence)
TASK = registry.task("text_classification")()
PART = testing.fold(TASK.name)


def reading(kind, *, seed=0):
    torch.manual_seed(seed)
    vectors = np.random.default_rng(seed).normal(size=(50, 12)).astype(np.float32)
    return light.Reading(light.arranged(vectors, np.arange(50), np.arange(20)), kind(12, 6)).eval()


def batch(*texts):
    """Ids and mask of texts given as lists of ids, padded to the longest; padding has an id that is a real token's."""
    longest = max(map(len, texts))
    ids = torch.tensor([[*text, *([7] * (longest - len(text)))] for text in texts])
    mask = torch.tensor([[1] * len(text) + [0] * (longest - len(text)) for text in texts])
    return ids, mask


def fitted(name, folder, *, checkpoint="", part=PART, until=8, monitor=lambda *_: None):
    family = registry.family(name)
    proposed = family.propose(TASK, testing.facts(TASK, part), [checkpoint] if checkpoint else [])
    candidate = proposed[-1]
    return family.fit(candidate, TASK, part, state=folder / candidate.key, until=until, monitor=monitor, seed=3)


# --- what is read


@pytest.mark.parametrize("kind", KINDS)
def test_padding_changes_no_feature_in_torch_and_in_the_graph(kind, tmp_path):
    module, texts = reading(kind).settled(), ([3], [4, 5, 6, 30, 31, 3, 9], [8, 2])
    with torch.inference_mode():
        together = module(*batch(*texts)).numpy()
        alone = np.concatenate([module(*batch(text)).numpy() for text in texts])
    body.write_graph(module, ("input_ids", "attention_mask"), tmp_path / "model.onnx")
    session = InferenceSession(str(tmp_path / "model.onnx"), providers=["CPUExecutionProvider"])
    ids, mask = (tensor.numpy() for tensor in batch(*texts))
    (exported,) = session.run(["features"], {"input_ids": ids, "attention_mask": mask})
    assert together == pytest.approx(alone, abs=1e-6)
    assert exported == pytest.approx(alone, abs=1e-6)


def test_each_text_of_a_batch_is_read_backwards_from_its_own_end():
    module = reading(light.Recurrence)
    module.layers.reverse.load_state_dict(module.layers.onward.state_dict())
    with torch.inference_mode():
        there, back, _ = module(*batch([3, 4, 5], [5, 4, 3], [9] * 8)).split(1)
    onward, backward = there.chunk(2, dim=1)
    assert torch.allclose(back, torch.cat([backward, onward], dim=1), atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_the_order_of_words_is_learned_which_no_counting_of_single_words_could(name, tmp_path):
    rng = np.random.default_rng(0)
    names = ["anna", "bert", "cleo", "dora"]
    pairs = [(names[i], names[j]) for i in range(4) for j in range(4) if i != j]
    rows = [
        {"text": f"{a} paid {b} case {rng.integers(100)}", "label": "up" if a < b else "down"}
        for _ in range(20) for a, b in pairs
    ]  # fmt: skip
    part = Fold(rows[:160], rows[160:])
    model = fitted(name, tmp_path, part=part, until=120)
    right = [answer.value == row["label"] for answer, row in zip(model.predict(rows), rows, strict=True)]
    assert np.mean(right) > 0.95


# --- vectors


def test_every_id_keeps_its_vector_and_only_those_that_were_seen_learn():
    table = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)
    place = np.array([5, 0, 3, 3, 1, 2, 4])
    words = light.arranged(table, place, seen=np.array([6, 2, 0]))
    ids = torch.arange(7)[None]
    assert words(ids)[0].detach().numpy() == pytest.approx(table[place], abs=2e-3)
    words(ids).sum().backward()
    assert sorted(words.trained.grad[:, 0].tolist()) == [1, 1, 2], "two ids share a vector that learns"
    settled = words.settled()
    assert settled(ids)[0].numpy() == pytest.approx(table[place], abs=2e-3)
    assert not list(settled.trained)


def test_reduced_vectors_keep_their_distances_as_far_as_the_width_allows():
    vectors = np.random.default_rng(0).normal(size=(40, 10)).astype(np.float32)
    found = _light.reduced(vectors, 16)
    assert found.shape == (40, 10)
    assert found.std() == pytest.approx(_light.SPREAD, rel=1e-4)
    apart = [np.linalg.norm(each[:20] - each[20:], axis=1) for each in (vectors, found)]
    assert np.corrcoef(*apart)[0, 1] > 0.9999
    assert _light.reduced(vectors, 3).shape == (40, 3)


def test_of_a_large_vocabulary_what_training_lacks_shares_one_vector(checkpoint, monkeypatch):
    source, seen = catalog.find(checkpoint), np.array([60, 70])
    monkeypatch.setattr(_light, "MOST_KEPT", 5)
    table, place = _light.pretrained(source, seen, 8, n_tokens=100)
    assert table.shape == (6, 8)
    assert len({*place[[60, 70]], *place[:3]}) == 5
    assert set(place[3:60]) == {5}
    assert not table[5].any()


@pytest.mark.parametrize("name", NAMES)
def test_from_the_vectors_of_a_checkpoint_a_family_keeps_its_contract_too(name, checkpoint, tmp_path):
    kind = type(registry.family(name))

    class Pretrained(kind):
        def propose(self, task, profile, checkpoints):
            return [each for each in super().propose(task, profile, checkpoints) if each.checkpoint]

    testing.check_family(Pretrained(), tmp_path, checkpoints=[checkpoint], tasks=["text_classification"])


@pytest.mark.parametrize("name", NAMES)
def test_one_candidate_starts_from_nothing_and_one_from_each_encoder(name, checkpoint):
    found = registry.family(name).propose(TASK, testing.facts(TASK, PART), [checkpoint])
    assert [each.checkpoint for each in found] == ["", checkpoint]


# --- tokens


def test_known_words_are_read_whole_and_others_spelt():
    reader = spelling.learned(["The parcel never arrived", "the parcel is late", "she arrived, gifted"])
    assert reader.encode("PARCEL arrived").tokens == ["[BEGIN]", "parcel", "arrived", "[END]"]
    spelt = reader.encode("lifted").tokens
    assert "[UNK]" not in spelt
    assert "".join(piece.removeprefix("##") for piece in spelt[1:-1]) == "lifted"
    assert reader.encode("").tokens == ["[BEGIN]", "[END]"]
    assert reader.encode("ᚠ").tokens == ["[BEGIN]", "[UNK]", "[END]"]


def test_a_tokenizer_learned_from_texts_is_the_same_in_every_process():
    code = (
        "from cutler import testing; from cutler.models import spelling; "
        "print(spelling.learned([row['text'] for row in testing.rows('text_classification')]).to_str())"
    )
    told = [
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True,
                       env={**os.environ, "PYTHONHASHSEED": seed}).stdout
        for seed in ("1", "2")
    ]  # fmt: skip
    assert told[0] == told[1]


def test_of_very_much_text_a_sample_is_counted(monkeypatch):
    monkeypatch.setattr(spelling, "MOST_CHARS", 100)
    texts = [f"word{n} word{n}" for n in range(100)]
    assert len(list(spelling._sample(texts))) < 12
    assert spelling.learned([]).encode("x").tokens == ["[BEGIN]", "[UNK]", "[END]"]


# --- training, going on, shipping


@pytest.mark.parametrize("name", NAMES)
def test_a_second_rung_goes_on_from_the_first(name, tmp_path):
    heard = []
    for until in (15, 40):
        fitted(name, tmp_path, until=until, monitor=lambda step, _: heard.append(step))
    assert heard == [3, 6, 9, 12, 15, 15, 10, 15, 20, 25, 30, 35, 40, 40], "nine steps of fifteen were not run again"


def test_what_ships_is_small_and_does_not_count_what_only_training_reads(tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    fitted("convolutional", tmp_path).save(folder)
    assert (folder / "weights" / "network.safetensors").is_file()
    whole = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6
    assert 0.5 * whole < measure.size_mb(folder) < whole


@pytest.mark.parametrize("weights", [True, False])
def test_a_bundle_without_weights_answers_and_says_that_it_cannot_go_on(weights, tmp_path):
    folder, place = tmp_path / "model", tmp_path / "work"
    folder.mkdir()
    fitted("convolutional", tmp_path).save(folder)
    made = bundle.write(tmp_path / "m.cutler", task=TASK, model=folder, files={}, weights=weights)
    assert made.has_weights == weights
    assert len(made.predict(["my parcel never arrived"])) == 1
    splits = Splits(PART.train, PART.validation, PART.validation)
    facts = profile.describe(splits, TASK)
    if weights:
        (item,) = going_on.items(made, TASK, splits, facts, clock=Clock(60), place=place)
        assert item.until[-1] >= 20
    else:
        with pytest.raises(UsageError, match="without --no-weights"):
            going_on.items(made, TASK, splits, facts, clock=Clock(60), place=place)


def test_going_on_starts_from_what_was_learned_and_keeps_the_tokens(tmp_path):
    first = fitted("convolutional", tmp_path, until=60)
    state = tmp_path / "again" / first.candidate.key
    (state / "start").mkdir(parents=True)
    first.save(state / "start")
    fresh = [{**row, "text": f"zebra {row['text']}"} for row in PART.train]
    family = registry.family("convolutional")
    again = family.fit(first.candidate, TASK, replace(PART, train=fresh), state=state, until=1,
                       monitor=lambda *_: None, seed=3)  # fmt: skip
    assert again.tokenizer.to_str() == first.tokenizer.to_str()
    moved = [abs(a - b).max() for a, b in zip(again.reading.layers.state_dict().values(),
                                              first.reading.layers.state_dict().values(), strict=True)]  # fmt: skip
    assert 0 < float(max(moved)) < 0.01


def test_a_small_network_is_read_back_by_the_format_of_every_graph(tmp_path):
    model = fitted("recurrent", tmp_path)
    (tmp_path / "model").mkdir()
    model.save(tmp_path / "model")
    assert models.load(tmp_path / "model").scores(PART.validation) == pytest.approx(
        model.scores(PART.validation), abs=1e-5
    )
