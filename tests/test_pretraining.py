"""From raw text to checkpoints that families take, and further on from them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM, AutoModelForMaskedLM, AutoModelForSeq2SeqLM, AutoTokenizer
from typer.testing import CliRunner

import cutler
from cutler import catalog, domains, registry, testing
from cutler.cli import app
from cutler.errors import CheckpointError, ConstraintError, CutlerError, DataError, OutputError, UsageError
from cutler.pretraining import blocks, course, general, networks, shapes, spelling, texts, work

AUTO = {"encoder": AutoModelForMaskedLM, "decoder": AutoModelForCausalLM, "encoder-decoder": AutoModelForSeq2SeqLM}


@pytest.fixture(autouse=True, scope="module")
def small_steps():
    """Steps of a few blocks, so that a run takes a second."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("BATCH_TOKENS", "CONTINUED_TOKENS"):
            patch.setattr(work, name, 256)
        yield


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """A file of some hundred documents of two hundred words that are drawn as rarely as Zipf says."""
    rng = np.random.default_rng(0)
    known = ["".join(rng.choice(["ba", "ke", "lo", "mi", "nu", "re", "sta"], rng.integers(1, 4))) for _ in range(300)]
    file = tmp_path_factory.mktemp("corpus") / "tickets.txt"
    documents = [" ".join(known[i] for i in (300 * rng.random(40) ** 3).astype(int)) for _ in range(400)]
    file.write_text("\n\n".join(documents), encoding="utf-8")
    return file


@pytest.fixture(scope="module")
def made(corpus, tmp_path_factory):
    """A checkpoint of each architecture, a dozen steps each."""
    place = tmp_path_factory.mktemp("made")
    return {name: cutler.pretrain(corpus, out=place / name, architecture=name, size="100k", vocabulary=400,
                                  max_tokens=32, steps=12, threads=1) for name in AUTO}  # fmt: skip


@pytest.mark.parametrize("name", AUTO)
def test_a_checkpoint_opens_in_transformers_whole_with_its_tokenizer(name, made):
    found = made[name]
    model, told = AUTO[name].from_pretrained(found.path, output_loading_info=True)
    assert not told["missing_keys"]
    assert found.architecture == name
    assert found.max_tokens == 32 or name == "encoder-decoder"
    reader = AutoTokenizer.from_pretrained(found.path)
    ids = reader("stare lomi kelo").input_ids
    assert reader.decode(ids, skip_special_tokens=True) == "stare lomi kelo"
    assert max(ids) < model.config.vocab_size
    assert reader.pad_token_id == model.config.pad_token_id


@pytest.mark.parametrize("name", AUTO)
def test_it_has_learned_something_and_its_card_says_how_much(name, made):
    card = json.loads((Path(made[name].path) / "card.json").read_text("utf-8"))
    assert card["perplexity"]["after"]["held_out"] < 0.8 * card["perplexity"]["uniform"]
    curve = [value for _, value in card["perplexity"]["curve"]]
    assert curve[-1] < curve[0]
    assert card["plan"]["steps"] == 12
    page = (Path(made[name].path) / "card.html").read_text("utf-8")
    assert f"{card['perplexity']['after']['held_out']:.1f}" in page
    assert "tickets.txt" in (Path(made[name].path) / "card.md").read_text("utf-8")


def test_no_text_of_the_corpus_lies_in_the_folder_but_pieces(made, corpus):
    folder, text = Path(made["encoder"].path), corpus.read_bytes()[:40]
    assert not [path.name for path in folder.iterdir() if text in path.read_bytes()]
    assert not (folder / "state").exists()


def test_families_fit_from_it(made, tmp_path):
    for family in ("frozen", "encoder"):
        testing.check_family(registry.family(family), tmp_path / family, checkpoints=[made["encoder"].path],
                             tasks=["text_classification"])  # fmt: skip


def test_the_same_steps_give_the_same_weights_in_another_process(corpus, made, tmp_path):
    code = (
        "import sys, cutler; from cutler.pretraining import work; work.BATCH_TOKENS = 256; "
        "cutler.pretrain(sys.argv[1], out=sys.argv[2], architecture='encoder', size='100k', vocabulary=400, "
        "max_tokens=32, steps=12, threads=1)"
    )  # fmt: skip
    subprocess.run([sys.executable, "-c", code, str(corpus), str(tmp_path / "again")], check=True)
    for name in ("tokenizer.json", "model.safetensors", "config.json", "domain.json"):
        assert (tmp_path / "again" / name).read_bytes() == (Path(made["encoder"].path) / name).read_bytes(), name


def test_a_run_that_was_interrupted_goes_on_to_the_same_end(corpus, made, tmp_path):
    def interrupting(stage, share):
        if stage.startswith("step 5"):
            raise KeyboardInterrupt

    given = {"architecture": "encoder", "size": "100k", "vocabulary": 400, "max_tokens": 32, "threads": 1}
    with pytest.raises(KeyboardInterrupt):
        cutler.pretrain(corpus, out=tmp_path / "a", steps=12, progress=interrupting, **given)
    assert (tmp_path / "a" / "state" / "all" / "state.safetensors").is_file()
    with pytest.raises(OutputError, match="other settings"):
        cutler.pretrain(corpus, out=tmp_path / "a", **{**given, "size": "mini"})
    with pytest.raises(OutputError, match="12 steps.*Leave --steps out"):
        cutler.pretrain(corpus, out=tmp_path / "a", steps=20, **given)
    found = cutler.pretrain(corpus, out=tmp_path / "a", **given)
    assert found.digest == made["encoder"].digest
    with pytest.raises(OutputError, match="finished checkpoint"):
        cutler.pretrain(corpus, out=tmp_path / "a", **given)


def test_going_on_from_a_checkpoint_without_a_head_counts_from_a_fitted_one(corpus, checkpoint, tmp_path):
    general = tmp_path / "general.txt"
    general.write_text("\n".join(f"good morning and thank you for parcel {n}" for n in range(300)), "utf-8")
    found = cutler.pretrain(corpus, out=tmp_path / "on", continue_from=checkpoint, general=general, steps=12, threads=1)
    card = json.loads((tmp_path / "on" / "card.json").read_text("utf-8"))
    before, after = card["perplexity"]["before"], card["perplexity"]["after"]
    assert card["plan"]["head_steps"] >= 1
    assert after["held_out"] < before["held_out"]
    assert set(after) == {"held_out", "general"}
    assert "general.txt" in (tmp_path / "on" / "card.md").read_text("utf-8")
    assert (found.layers, found.width, found.scripts) == (2, 32, catalog.find(checkpoint).scripts)
    assert AutoTokenizer.from_pretrained(found.path).vocab_size > 100


def test_facts_of_the_parent_are_those_of_what_goes_on_from_it(tmp_path, checkpoint):
    folder = testing.tiny_checkpoint(tmp_path / "child")
    assert catalog.find(str(folder)).licence == ""
    told = {"kind": "pretraining", "licence": "MIT", "languages": ["en"], "source": "https://example.org"}
    (folder / "card.json").write_text(json.dumps(told), "utf-8")
    found = catalog.find(str(folder))
    assert (found.licence, found.languages, found.source) == ("MIT", ("en",), "https://example.org")


def test_fewer_steps_are_planned_where_the_machine_becomes_slower(corpus, tmp_path, monkeypatch):
    class Slowing:
        budget_s, share, left = 100.0, 0.0, 100.0

        @property
        def left_s(self):
            Slowing.left -= 20.0
            return Slowing.left

    seen = []
    original = course.Course.run

    def run(self):
        self.clock, self.work = Slowing(), work.Work("x", 40, self.work.batch, self.work.length)
        found = original(self)
        seen.append(self.work)
        return found

    monkeypatch.setattr(course.Course, "run", run)
    cutler.pretrain(corpus, out=tmp_path / "a", size="100k", vocabulary=400, max_tokens=32, steps=40, threads=1)
    assert seen[0].cut == 40
    assert seen[0].steps < 40


@pytest.mark.parametrize(
    ("given", "error", "says"),
    [
        ({"architecture": "encodr"}, UsageError, "id you mean 'encoder'"),
        ({"objective": "causal_lm"}, UsageError, "masked_lm"),
        ({"size": "tinny"}, UsageError, "id you mean 'tiny'"),
        ({"size": "10k"}, UsageError, "--vocabulary"),
        ({"tokenizer": "sentencepiece"}, UsageError, "unigram"),
        ({"budget": "1s"}, ConstraintError, "more time"),
        ({"steps": 0}, UsageError, "steps from 1 up"),
        ({"continue_from": "nowhere"}, CheckpointError, "catalog name"),
    ],
)
def test_what_cannot_be_is_refused_before_training(corpus, tmp_path, given, error, says):
    with pytest.raises(error, match=says):
        cutler.pretrain(corpus, out=tmp_path / "a", **{"threads": 1, **given})


def test_a_checkpoint_keeps_its_architecture_and_tokenizer(corpus, checkpoint, tmp_path):
    with pytest.raises(CheckpointError, match="encoder"):
        cutler.pretrain(corpus, out=tmp_path / "a", continue_from=checkpoint, architecture="decoder")
    with pytest.raises(UsageError, match="--vocabulary"):
        cutler.pretrain(corpus, out=tmp_path / "a", continue_from=checkpoint, vocabulary=500)


@pytest.mark.parametrize(
    ("content", "says"),
    [(b"too short to learn from\n\nanother one", "at least one batch"), (b"one document", "blank line"),
     (b"", "rows"), (b"caf\xe9 noir\n" * 9, "UTF-8")],
)  # fmt: skip
def test_a_corpus_that_cannot_be_learned_from_is_refused(content, says, tmp_path):
    (tmp_path / "a.txt").write_bytes(content)
    with pytest.raises(DataError, match=says):
        cutler.pretrain(tmp_path / "a.txt", out=tmp_path / "out", vocabulary=300)


def test_blocks_between_blank_lines_are_documents_and_otherwise_lines_are(tmp_path):
    (tmp_path / "a.txt").write_text("one\ntwo\n\n \nthree\n", "utf-8")
    (tmp_path / "b.txt").write_text("one\ntwo\nthree\nthree\n", "utf-8")
    assert texts.documents(tmp_path / "a.txt") == ["one\ntwo", "three"]
    assert texts.documents(tmp_path / "b.txt") == ["one", "two", "three"]


def test_tables_give_the_column_that_is_named_and_folders_their_parts(tmp_path):
    rows = [{"body": " ".join(chr(0x3400 + 10 * n + k) for k in range(9)), "id": n} for n in range(30)]
    (tmp_path / "train.jsonl").write_text("\n".join(map(json.dumps, rows[:20])), "utf-8")
    (tmp_path / "valid.jsonl").write_text("\n".join(map(json.dumps, rows[19:25])), "utf-8")
    (tmp_path / "test.jsonl").write_text("\n".join(map(json.dumps, rows[25:])), "utf-8")
    found = texts.read([tmp_path], column="body", seed=0)
    assert not {row["body"] for row in rows[25:]} & {*found.train, *found.held_out}
    assert set(found.held_out) | set(found.train) <= {row["body"] for row in rows}
    with pytest.raises(UsageError, match="id you mean 'body'"):
        texts.read([tmp_path], column="boddy", seed=0)


def test_no_near_copy_of_a_held_out_document_is_learned_from(tmp_path):
    rng = np.random.default_rng(0)
    once = [" ".join(rng.choice(list("abcdefghijklmnopqrstuvwxyz"), 40)) for _ in range(60)]
    (tmp_path / "a.txt").write_text("\n".join([*once, *(f"{text} end" for text in once)]), "utf-8")
    found = texts.read([tmp_path / "a.txt"], column=None, seed=0)
    held = {text.removesuffix(" end") for text in found.held_out}
    assert held
    assert not held & {text.removesuffix(" end") for text in found.train}


def test_blocks_hold_every_token_in_order_with_separators_between_documents():
    documents = ["please refund the payment", "my account is locked", "the parcel never arrived"] * 5
    for name in AUTO:
        reader = spelling.learned(documents, architecture=name, kind=None, size=400, sentinels=4)
        known = spelling.described(reader, {}, name)
        packed = blocks.packed(reader, known, documents, length=12)
        assert packed.shape[1] == 12
        assert known.pad not in packed
        inner = packed[:, 1:-1] if name == "encoder" else packed
        ids = [number for number in inner.ravel().tolist() if number not in known.separators]
        whole = [number for text in documents for number in reader.encode(text, add_special_tokens=False).ids]
        assert ids == whole[: len(ids)]
        assert len(whole) - len(ids) < 12


def test_a_tokenizer_is_the_same_in_every_process(corpus, tmp_path):
    code = (
        "import sys; from cutler.pretraining import spelling, texts\n"
        "for kind in ('bpe', 'wordpiece'): print(spelling.learned(texts.documents(sys.argv[1]), kind=kind, size=400, "
        "architecture='encoder').to_str())"
    )  # fmt: skip
    there = subprocess.run([sys.executable, "-c", code, str(corpus)], check=True, capture_output=True, text=True)
    here = [spelling.learned(texts.documents(corpus), architecture="encoder", kind=kind, size=400).to_str()
            for kind in ("bpe", "wordpiece")]  # fmt: skip
    assert there.stdout.splitlines() == here


def test_wordpieces_learned_in_disguise_spell_words_as_wordpiece_does():
    documents = ["the refunding of refunds", "refunded refund, re-funding; Ümläute"] * 10
    reader = spelling.learned(documents, architecture="encoder", kind="wordpiece", size=300)
    tokens = reader.encode("refunding refunds Ümläute").tokens
    assert tokens[1].startswith("refund")
    assert "[UNK]" not in tokens
    assert "".join(tokens[1:-1]).replace("##", "") == "refundingrefundsÜmläute"
    assert reader.decode(reader.encode("the refund").ids) == "the refund"


def test_a_unigram_tokenizer_can_be_asked_for(corpus):
    reader = spelling.learned(texts.documents(corpus), architecture="encoder-decoder", kind="unigram", size=300,
                              sentinels=8)  # fmt: skip
    assert isinstance(reader, Tokenizer)
    assert spelling.kind_of(reader) == "Unigram"
    assert len(spelling.described(reader, {}, "encoder-decoder").sentinels) == 8


@pytest.mark.parametrize("architecture", AUTO)
@pytest.mark.parametrize("wanted", ["300k", 4_000_000])
def test_a_number_of_parameters_is_met(architecture, wanted):
    reader = spelling.learned(["a b c"], architecture=architecture, kind="bpe", size=1000, sentinels=4)
    known = spelling.described(reader, {}, architecture)
    found = shapes.shape(wanted, architecture, known.size)
    count = networks.count(networks.made(shapes.config(found, architecture, known, max_tokens=64), architecture, 0))
    asked = {"300k": 3e5}.get(wanted, wanted)
    assert 0.75 < count / asked < 1.33


def test_the_published_miniatures_have_their_shapes():
    assert [(each.layers, each.width, each.heads) for each in shapes.SIZES.values()] == [
        (2, 128, 2), (4, 256, 4), (4, 512, 8)
    ]  # fmt: skip


def test_general_text_is_prose():
    found = general.prose()
    assert sum(map(len, found)) >= general.ENOUGH
    assert not [text for text in found if ">>>" in text]


def test_the_command_line_pretrains_and_says_what_came_out(corpus, tmp_path):
    place = tmp_path / "a"
    flags = ["--size", "100k", "--vocabulary", "400", "--max-tokens", "32", "--steps", "6", "--threads", "1"]
    done = CliRunner().invoke(app, ["pretrain", str(corpus), "--out", str(place), *flags])
    assert done.exit_code == 0, done.output
    assert "perplexity" in done.output
    assert str(place) in done.output.replace("\n", "")
    again = CliRunner().invoke(app, ["pretrain", str(corpus), "--out", str(place), *flags])
    assert again.exit_code == CutlerError.exit_code


def test_pretraining_leaves_the_statistics_of_its_text(corpus, made):
    known = domains.of_checkpoint(made["encoder"])
    assert known.similarity(texts.documents(corpus)[:40]) > 0.8
    assert known.similarity(["ein ganz anderer Text über das Wetter von gestern und morgen"] * 9) < 0.3
