"""Reading and then writing: what is trained is what ships, whatever it started from; the same every time."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import T5Config, T5ForConditionalGeneration

from cutler import api, catalog, registry, testing
from cutler.errors import CheckpointError
from cutler.models import body, encdec, subwords, warm
from cutler.models.base import Answering
from cutler.models.seq2seq import TOKENIZER, WEIGHTS, Seq2Seq, Writing
from cutler.search import sizing
from cutler.types import Candidate, Constraints, Pace, Plan, PlanItem

ROWS = testing.rows("translation", 60)
TEXTS = [row[role] for row in ROWS for role in ("source", "target")]
SHAPE = encdec.Shape(1, 32, 4, 64)


@pytest.fixture(scope="module")
def reader():
    return subwords.learned(TEXTS, size=400)


@pytest.fixture(scope="module")
def t5(tmp_path_factory, reader):
    """The folder of a tiny T5 of random weights."""
    folder = tmp_path_factory.mktemp("checkpoint") / "tiny-t5"
    torch.manual_seed(0)
    model = T5ForConditionalGeneration(T5Config(
        vocab_size=reader.get_vocab_size(), d_model=32, d_kv=8, d_ff=64, num_layers=2, num_heads=4, pad_token_id=0,
        eos_token_id=1, decoder_start_token_id=0, task_specific_params={"summarization": {"prefix": "shorten: "}},
    ))  # fmt: skip
    encdec.save(model, reader, folder, source=None)
    return str(folder)


@pytest.fixture
def given(reader):
    sides = [row["source"] for row in ROWS], [row["target"] for row in ROWS]
    return encdec.pairs(reader, *sides, most=(64, 64))


def test_subwords_are_the_same_in_every_process_and_spell_everything_back():
    code = "import sys; from cutler.models import subwords; print(subwords.learned(sys.argv[1:], size=400).to_str())"
    told = [subprocess.run([sys.executable, "-c", code, *TEXTS], check=True, capture_output=True).stdout
            for _ in range(2)]  # fmt: skip
    assert told[0] == told[1]
    known = subwords.learned(TEXTS, size=400)
    for text in ("The Café’s own 👍 İstanbul", "我爱北京", "a  b"):
        ids = known.encode(text).ids
        assert known.decode(ids).strip() == text
        assert known.token_to_id(subwords.UNKNOWN) not in ids


def models(reader, checkpoint, t5):
    yield "from nothing", encdec.fresh(SHAPE, reader.get_vocab_size()), None
    yield "warm", warm.started(catalog.find(checkpoint), reader), None
    yield "t5", encdec.read(Path(t5)), Path(t5)


def test_the_runtime_scores_a_text_as_torch_does(reader, given, checkpoint, t5, tmp_path):
    for name, model, source in models(reader, checkpoint, t5):
        writer = encdec.Writer(model, dropout=0.3, smoothing=0.0).eval()
        encdec.convert(model, reader, tmp_path / name, source=source)
        runtime = Seq2Seq(Candidate("x"), ("source",), home=tmp_path / name, writing=Writing(64, 20),
                          task=registry.task("translation")()).runtime
        sides = [[reader.encode(row[role]).tokens for row in ROWS[:5]] for role in ("source", "target")]
        told = runtime.score_batch(sides[0], [side[:-1] for side in sides[1]])
        with torch.no_grad():
            ours = [-float(writer.loss(given, np.array([place]))) for place in range(5)]
        assert [np.mean(each.log_probs) for each in told] == pytest.approx(ours, abs=1e-4), name


def test_what_a_text_costs_is_the_loss_of_its_tokens(reader, given, tmp_path):
    model = encdec.fresh(SHAPE, reader.get_vocab_size())
    writer = encdec.Writer(model, dropout=0.3, smoothing=0.0).eval()
    encdec.convert(model, reader, tmp_path, source=None)
    ships = Seq2Seq(Candidate("x"), ("source",), home=tmp_path, writing=Writing(64, 20),
                    task=registry.task("translation")())  # fmt: skip
    nats, tokens = ships.surprise(ROWS[:5], [row["target"] for row in ROWS[:5]])
    with torch.no_grad():
        ours = [float(writer.loss(given, np.array([place]))) for place in range(5)]
    assert nats / tokens == pytest.approx(ours, abs=1e-4)
    assert tokens.tolist() == [len(each) for each in given.targets[:5]]


def test_padding_changes_no_loss(reader, given):
    writer = encdec.Writer(encdec.fresh(SHAPE, reader.get_vocab_size()), dropout=0.3, smoothing=0.1).eval()
    with torch.no_grad():
        alone = [float(writer.loss(given, np.array([place]))) for place in range(6)]
        together = float(writer.loss(given, np.arange(6)))
    sizes = [len(given.targets[place]) for place in range(6)]
    assert together == pytest.approx(np.average(alone, weights=sizes), abs=1e-5)


def test_dropout_is_there_in_training_only(reader, given):
    writer = encdec.Writer(encdec.fresh(SHAPE, reader.get_vocab_size()), dropout=0.3, smoothing=0.0)
    places = np.arange(4)
    with torch.no_grad():
        assert float(writer.train().loss(given, places)) != float(writer.loss(given, places))
        assert float(writer.eval().loss(given, places)) == float(writer.loss(given, places))


def test_a_warm_start_reads_as_the_encoder_does(checkpoint, reader):
    found = catalog.find(checkpoint)
    bert, model = body.load(found), warm.started(found, reader).eval()
    embedded = bert.get_input_embeddings()(torch.tensor([[5, 6, 7, 8]]))
    with torch.no_grad():
        wanted = bert(inputs_embeds=embedded).last_hidden_state
        ours = model.model.encoder(inputs_embeds=embedded).last_hidden_state
    assert torch.allclose(ours, wanted, atol=2e-4)
    assert torch.equal(model.model.decoder.layers[-1].fc1.weight, bert.encoder.layer[-1].intermediate.dense.weight)


def test_embeddings_start_as_means_of_the_old_pieces_whatever_their_case(checkpoint, reader):
    found = catalog.find(checkpoint)
    known = body.load(found).get_input_embeddings().weight
    spelt = body.tokenizer(found, max_tokens=64)
    ours = warm.started(found, reader).get_input_embeddings().weight
    number = reader.token_to_id("Ġinvoice")
    assert torch.equal(ours[number], known[spelt.token_to_id("invoice")])
    assert torch.equal(ours[reader.token_to_id(subwords.END)], known[spelt.token_to_id("[SEP]")])


def test_what_is_trained_learns(reader, given):
    torch.manual_seed(0)
    writer = encdec.Writer(encdec.fresh(SHAPE, reader.get_vocab_size()), dropout=0.0, smoothing=0.1).train()
    optimizer = torch.optim.AdamW([p for p in writer.parameters() if p.requires_grad], lr=1e-2)
    places, told = np.arange(16), []
    for _ in range(40):
        optimizer.zero_grad()
        loss = writer.loss(given, places)
        loss.backward()
        optimizer.step()
        told.append(float(loss.detach()))
    assert told[-1] < 0.6 * told[0]


def test_a_long_source_is_read_in_part_and_that_is_told(reader, tmp_path):
    encdec.convert(encdec.fresh(SHAPE, reader.get_vocab_size()), reader, tmp_path, source=None)
    model = Seq2Seq(Candidate("x"), ("source",), home=tmp_path, writing=Writing(16, 8),
                    task=registry.task("translation")())  # fmt: skip
    assert model.truncated([{"source": "the parcel " * 50}, {"source": "the parcel"}]) == 0.5
    assert len(model.predict(["the parcel " * 50, ""])) == 2


def test_every_start_is_proposed_and_only_those_that_fit(checkpoint, t5):
    task, family = registry.task("summarization")(), registry.family("encoder_decoder")
    facts = testing.facts(task, testing.fold(task.name))
    found = family.propose(task, facts, [checkpoint, t5])
    assert [(c.checkpoint, c.get("warm"), c.get("prefix")) for c in found] == [
        ("", None, None), ("", None, None), (checkpoint, True, None), (t5, None, "shorten: ")]  # fmt: skip


@pytest.mark.parametrize("start", ["checkpoint", "t5"])
def test_a_family_keeps_its_contract_from_a_checkpoint(start, request, tmp_path):
    task, family = registry.task("translation")(), registry.family("encoder_decoder")
    part = testing.fold(task.name)
    candidate = family.propose(task, testing.facts(task, part), [request.getfixturevalue(start)])[-1]
    model = family.fit(candidate, task, part, state=tmp_path / candidate.key, until=3, monitor=lambda *_: None, seed=0)
    assert isinstance(model, Answering)
    testing.check_model(model, part.validation[:4], tmp_path / "stored")


def test_labels_are_told_in_words_and_read_back_as_labels_that_training_knew(tmp_path):
    task, part = registry.task("text_classification")(), testing.fold("text_classification")
    family = registry.family("encoder_decoder")
    (tiny,) = family.propose(task, testing.facts(task, part), [])
    tiny = tiny.having({"layers": 1, "width": 32, "inner": 64, "vocabulary": 300, "learning_rate": 3e-3})
    model = family.fit(tiny, task, part, state=tmp_path / "state", until=120, monitor=lambda *_: None, seed=0)
    known = {row["label"] for row in part.train}
    assert set(model.labels) == known
    said = [answer.value for answer in model.predict(part.train)]
    assert set(said) <= known
    commonest = max(sum(row["label"] == label for row in part.train) for label in known) / len(part.train)
    assert np.mean([a == row["label"] for a, row in zip(said, part.train, strict=True)]) > commonest


def test_a_checkpoint_that_no_family_to_try_takes_is_refused_with_those_that_do(t5, tmp_path):
    rows = [{"text": row["source"], "score": len(row["target"]) / 7} for row in ROWS]
    with pytest.raises(CheckpointError, match="encoder-decoder.*no family takes it for this task"):
        api.fit(rows, checkpoints=(t5,), out=tmp_path / "a.cutler", constraints=Constraints("20s"))
    with pytest.raises(CheckpointError, match="--family encoder_decoder"):
        api.fit(ROWS, task="translation", checkpoints=(t5,), families=("majority",), out=tmp_path / "b.cutler",
                constraints=Constraints("20s"))  # fmt: skip


def test_where_time_is_short_the_smallest_model_is_the_one_that_stays():
    task, family = registry.task("translation")(), registry.family("encoder_decoder")
    part = testing.fold(task.name, 3000)
    tiny, small = family.propose(task, testing.facts(task, part), [])
    slow, quick = Pace(step_s=2.0), Pace(step_s=1.0)
    enough = [sizing.enough_steps(candidate, len(part.train)) for candidate in (tiny, small)]
    assert enough[1] == pytest.approx(2 * enough[0], abs=2)
    items, _ = sizing.ladder_of([(tiny, quick), (small, slow)], part, 2.0 * enough[1] + 10)
    assert [item.candidate for item in items] == [tiny]
    items, _ = sizing.ladder_of([(tiny, quick), (small, slow)], part, 4.0 * enough[1])
    assert [item.candidate for item in items] == [tiny, small]


WITHOUT_TORCH = """
import sys
from cutler import api
found = api.load(sys.argv[1]).predict(["hello the invoice shows a wrong amount today"])
assert len(found) == 1 and isinstance(found[0].value, str)
assert not {"torch", "transformers"} & set(sys.modules), "torch"
"""


def test_a_bundle_writes_without_torch_and_goes_on_learning(tmp_path):
    task = registry.task("translation")()
    tiny = registry.family("encoder_decoder").propose(task, testing.facts(task, testing.fold(task.name)), [])[0]
    tiny = tiny.having({"layers": 1, "width": 32, "inner": 64, "vocabulary": 300})
    work = Plan(0, 1, 20.0, (PlanItem(tiny, len(ROWS), (6,), 5.0),))
    (tmp_path / "plan.json").write_text(json.dumps(work.as_json()))
    found = api.fit(ROWS, task=task.name, out=tmp_path / "a.cutler", plan=tmp_path / "plan.json", threads=1)
    assert found.card["pick"]["name"].startswith("encoder_decoder")
    assert {"bleu", "chrf", "perplexity"} == set(found.card["test"]["metrics"])
    assert found.has_weights
    assert (found.folder / WEIGHTS / "model.safetensors").is_file()
    assert not (found.folder / "model" / WEIGHTS).exists()
    assert (found.folder / "model" / TOKENIZER).is_file()
    done = subprocess.run([sys.executable, "-c", WITHOUT_TORCH, str(found.folder)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    more = found.fine_tune(ROWS, out=tmp_path / "b.cutler", budget="10s")
    assert more.model.candidate == found.model.candidate
    assert len(more.predict(["the parcel never arrived", {"source": "hello"}])) == 2
