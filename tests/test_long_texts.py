"""Texts longer than a checkpoint reads: cut, in windows, or whole by local attention."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from transformers import BertConfig, BertModel, RobertaConfig, RobertaModel

from cutler import catalog, models, registry, testing
from cutler.models import body as bodies
from cutler.models import local, pace
from cutler.models.base import Decision, Linear
from cutler.models.longtexts import LOCAL, WINDOWS
from cutler.models.network import Transformer
from cutler.models.textstates import stored_text_states
from cutler.models.windows import text_windows
from cutler.types import Candidate, Fold, Spread

TASK = "text_classification"


def ending(n, *, before=150, seed=0):
    """Rows whose label stands at the end only: words that say nothing, then what is said of the topic, repeated."""
    rng, topics = np.random.default_rng(seed), list(testing.WORDS)
    filler = " ".join(testing.AROUND).split()
    return [
        {"text": " ".join([*rng.choice(filler, before), *([str(rng.choice(testing.WORDS[topic]))] * 12)]),
         "label": topic} for topic in (topics[i % len(topics)] for i in range(n))
    ]  # fmt: skip


def late(n=90):
    rows = ending(n)
    return Fold(rows[: 2 * n // 3], rows[2 * n // 3 :])


def proposed(family, checkpoint, part, way):
    """The last candidate of a family that reads so."""
    task = registry.task(TASK)()
    found = registry.family(family).propose(task, testing.facts(task, part), [checkpoint])
    return [candidate for candidate in found if candidate.get("reading") == way][-1]


def fitted(candidate, part, folder, *, until=1):
    task = registry.task(TASK)()
    return registry.family(candidate.family).fit(
        candidate, task, part, state=folder / candidate.key, until=until, monitor=lambda *_: None, seed=0
    )


def accuracy(model, part):
    task = registry.task(TASK)()
    return task.score(task.targets(part.validation), model.predict(part.validation))


@pytest.mark.parametrize(("family", "way", "steps"), [
    ("frozen", WINDOWS, 1), ("encoder", WINDOWS, 48), ("encoder", LOCAL, 48),
])  # fmt: skip
def test_what_stands_at_the_end_of_a_long_text_is_read_but_where_it_is_cut(family, way, steps, checkpoint, tmp_path):
    part, quick = late(), {"learning_rate": 3e-3, "batch": 16} if family == "encoder" else {}
    cut, whole = (
        fitted(proposed(family, checkpoint, part, w).having(quick), part, tmp_path, until=n)
        for w, n in ((None, 8 if quick else 1), (way, steps))
    )  # fmt: skip
    assert cut.truncated(part.validation) == 1.0
    assert whole.truncated(part.validation) == 0.0
    assert accuracy(cut, part) < 0.7
    assert accuracy(whole, part) >= 0.9
    _same_without_torch(whole, part, tmp_path / "stored")


def _same_without_torch(model, part, folder):
    """Stored, the model scores as before in a process that has neither torch nor transformers."""
    folder.mkdir()
    model.save(folder)
    given = [*part.validation[:3], {"text": ""}, {"text": "parcel"}, {"text": "the parcel " * 300}]
    scores = models.load(folder).scores(given)
    assert scores == pytest.approx(model.scores(given), abs=2e-4)
    code = """if True:
        import json, sys
        sys.modules |= {"torch": None, "transformers": None}
        from pathlib import Path
        from cutler import models
        rows = json.loads(sys.stdin.read())
        print(json.dumps(models.load(Path(sys.argv[1])).scores(rows).tolist()))
    """
    ran = subprocess.run([sys.executable, "-c", code, str(folder)], input=json.dumps(given), text=True,
                         capture_output=True, check=True)  # fmt: skip
    assert np.array(json.loads(ran.stdout)) == pytest.approx(scores, abs=1e-5)


@pytest.mark.parametrize(("family", "way"), [("frozen", WINDOWS), ("encoder", WINDOWS), ("encoder", LOCAL)])
def test_ways_of_reading_long_texts_keep_the_contract_of_a_family(family, way, checkpoint, tmp_path):
    maker, part, task = registry.family(family), late(30), registry.task(TASK)()
    candidate = proposed(family, checkpoint, part, way)
    testing.check_candidate(maker, candidate, task, part, testing.facts(task, part))
    testing.check_fitting(maker, candidate, task, part, tmp_path)


def test_both_sides_of_a_pair_are_read_in_windows(checkpoint, tmp_path):
    task, rows = registry.task("text_pair_classification")(), testing.rows("text_pair_classification", 24)
    long = [{**row, "text_pair": " ".join([*testing.AROUND] * 9 + [row["text_pair"]])} for row in rows]
    part = Fold(long[:16], long[16:])
    for maker in map(registry.family, ("frozen", "encoder")):
        found = [c for c in maker.propose(task, testing.facts(task, part), [checkpoint]) if c.get("reading") == WINDOWS]
        assert not any(c.get("joint") for c in found)
        model = maker.fit(found[0], task, part, state=tmp_path / maker.name / "s", until=2, seed=0,
                          monitor=lambda *_: None)  # fmt: skip
        assert model.truncated(long) == 0.0
        testing.check_model(model, part.validation, tmp_path / f"{maker.name} stored")


def test_a_text_that_fits_into_one_window_is_read_as_one_that_is_not_cut(checkpoint, tmp_path):
    part = testing.fold(TASK)
    plain = proposed("frozen", checkpoint, part, None)
    params = {"reading": WINDOWS, "max_tokens": plain["max_tokens"]}
    cut, windowed = fitted(plain, part, tmp_path), fitted(plain.having(params), part, tmp_path)
    assert (cut.candidate["pooling"], windowed.candidate["pooling"]) == ("mean", "mean")
    assert windowed.features(part.validation) == pytest.approx(cut.features(part.validation), abs=1e-5)


def test_each_token_of_a_text_counts_once_in_its_windows(checkpoint):
    reader = bodies.tokenizer(catalog.find(checkpoint), max_tokens=128)
    texts = [row["text"] for row in ending(5)] + ["", "parcel", "the parcel " * 400]
    reader.no_truncation()
    read = text_windows(reader, texts, max_tokens=32)
    assert read.lengths.max() <= 32
    flat, starts = np.concatenate(read.ids), np.cumsum(read.lengths) - read.lengths
    for row, text in enumerate(texts):
        windows = range(read.row_starts[row], read.row_starts[row + 1])
        owned = [flat[starts[w] + read.tokens[read.token_starts[w] : read.token_starts[w + 1]]] for w in windows]
        assert np.concatenate(owned).tolist() == reader.encode(text).ids
    lengths = [len(reader.encode(text).ids) for text in texts]
    means = read.over_rows(np.arange(len(read.ids), dtype=np.float32)[:, None], "mean")[:, 0]
    assert np.bincount(read.row_of, weights=read.owned).tolist() == lengths
    assert means == pytest.approx(np.bincount(read.row_of, read.owned * np.arange(len(read.ids))) / lengths)
    assert read.over_rows(np.arange(len(read.ids))[:, None], "max")[:, 0].tolist() == (read.row_starts[1:] - 1).tolist()


def test_windows_pool_in_torch_as_they_do_in_numpy_and_pass_gradients_on(checkpoint, tmp_path):
    source = catalog.find(checkpoint)
    reader, texts = bodies.tokenizer(source, max_tokens=32), [row["text"] for row in ending(4)] + ["parcel"]
    side = stored_text_states(bodies.lower(bodies.load(source), 1), source, reader, texts, max_tokens=32,
                              folder=tmp_path)  # fmt: skip
    places = np.array([4, 0, 2])
    batch = side.tensors(places)
    hidden = batch["inputs_embeds"].clone().requires_grad_(True)
    found = side.pool(hidden, batch.get("attention_mask"), places, bodies.WORDS)
    windows = np.concatenate([np.arange(side.read.row_starts[p], side.read.row_starts[p + 1]) for p in places])
    means = np.zeros((len(side.read.ids), 32), dtype=np.float32)
    means[windows] = side.read.means(hidden.detach().numpy(), windows)
    assert found.detach().numpy() == pytest.approx(side.read.over_rows(means, "mean")[places], abs=1e-5)
    found.sum().backward()
    assert all((hidden.grad[i].abs().sum() > 0) for i in range(len(windows)))


SMALL = {"vocab_size": 60, "hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2,
         "intermediate_size": 32, "initializer_range": 0.5}  # fmt: skip


def bert(kind="bert"):
    torch.manual_seed(0)
    if kind == "bert":
        return BertModel(BertConfig(**SMALL, max_position_embeddings=512), add_pooling_layer=False).eval()
    config = RobertaConfig(**SMALL, max_position_embeddings=514, pad_token_id=1)
    return RobertaModel(config, add_pooling_layer=False).eval()


def ids_of(*shape):
    return torch.randint(5, 60, shape, generator=torch.Generator().manual_seed(1))


@torch.inference_mode()
def hidden_of(body, ids, mask=None):
    return body(input_ids=ids, attention_mask=mask).last_hidden_state


@pytest.mark.parametrize("kind", ["bert", "roberta"])
def test_local_attention_is_full_attention_where_blocks_and_neighbours_are_all_there_is(kind):
    whole = bert(kind)
    near = local.reading(whole, 2048)
    for length in (1, 100, local.BLOCK, 2 * local.BLOCK):
        ids = ids_of(2, length)
        assert torch.allclose(hidden_of(near, ids), hidden_of(whole, ids), atol=1e-5)
    assert not torch.allclose(hidden_of(near, ids_of(1, 500)), hidden_of(whole, ids_of(1, 500)), atol=1e-2)


def test_blocks_compute_what_full_attention_does_where_they_cover_the_text():
    torch.manual_seed(0)
    query, key, value = torch.randn(3, 2, 4, 2 * local.BLOCK - 9, 8).unbind()
    real = torch.arange(query.shape[2])[None] < torch.tensor([[150], [query.shape[2]]])
    full = torch.nn.functional.scaled_dot_product_attention(query, key, value, real[:, None, None], scale=0.3)
    assert torch.allclose(local._near(query, key, value, real, 0.3, 0.0), full, atol=1e-5)


@pytest.mark.parametrize("length", [130, 300, 700])
def test_padding_changes_nothing_of_what_is_read_locally(length):
    near = local.reading(bert(), 1024)
    ids = ids_of(2, 1000)
    mask = torch.ones_like(ids)
    mask[0, length:] = 0
    padded = hidden_of(near, ids, mask)
    assert torch.allclose(padded[:1, :length], hidden_of(near, ids[:1, :length]), atol=1e-5)
    assert torch.allclose(padded[1:], hidden_of(near, ids[1:]), atol=1e-5)
    assert not torch.allclose(padded[:1, :length], hidden_of(near, ids)[:1, :length], atol=1e-3)


def test_the_first_token_sees_all_and_is_seen_by_all_and_others_see_their_neighbours():
    body = local.reading(bert(), 2048).double()
    bodies.layers_of(body)[0].layer = bodies.layers_of(body)[2][:1]
    ids = ids_of(1, 1000)
    before = hidden_of(body, ids)

    def moved(place):
        other = ids.clone()
        other[0, place] = 5 + (other[0, place] - 4) % 55
        return ((hidden_of(body, other) - before).abs().amax(dim=-1)[0] > 1e-6).nonzero()[:, 0].tolist()

    assert {place // local.BLOCK for place in moved(0)} == set(range(8))
    far = [place for place in moved(600) if not 3 * local.BLOCK <= place < 6 * local.BLOCK]
    assert far == [0]
    assert len(moved(600)) > 2 * local.BLOCK


@pytest.mark.parametrize("kind", ["bert", "roberta"])
def test_positions_beyond_those_of_the_checkpoint_repeat_them(kind):
    whole = bert(kind)
    longer = local.reading(whole, 1500)
    table, known = (b.embeddings.position_embeddings.weight for b in (longer, whole))
    before = len(known) - 512
    assert len(table) == 1500 + before
    assert torch.equal(table[before : before + 512], known[before:])
    assert torch.equal(table[before + 512 : before + 1024], known[before:])
    assert whole.config._attn_implementation != local.NAME, "the checkpoint itself stays as it was"
    assert len(local.reading(whole, 100).embeddings.position_embeddings.weight) == len(known)


def test_short_texts_are_read_as_they_always_were(checkpoint):
    task, part = registry.task(TASK)(), testing.fold(TASK)
    source, found = catalog.find(checkpoint), testing.facts(task, part)
    for trained in (False, True):
        ways = pace.readings(source, found, trained=trained)
        assert ways == [{"max_tokens": n} for n in pace.token_limits(source, found)]


def test_the_profile_says_how_long_texts_are_read(checkpoint):
    task, part = registry.task(TASK)(), testing.fold(TASK)
    source = replace(catalog.find(checkpoint), max_tokens=512)

    def ways(p50, p95, **changes):
        found = replace(testing.facts(task, part), words=Spread(p50, p50, p95, 2 * p95), **changes)
        return [[(w["max_tokens"], w.get("reading", "cut")) for w in pace.readings(source, found, trained=trained)]
                for trained in (False, True)]  # fmt: skip

    assert ways(100, 200) == [[(256, "cut"), (368, "cut")]] * 2
    some_long = [(256, "cut"), (512, "cut"), (256, "windows")]
    assert ways(200, 600) == [some_long, [(256, "cut"), (256, "windows")]]
    assert ways(200, 600, paired=True) == [some_long, some_long]
    assert ways(900, 1500) == [some_long, [(256, "cut"), (256, "windows"), (2640, "local")]]
    assert ways(900, 9000)[1][-1] == (4096, "local")


def test_what_reads_long_texts_whole_is_foreseen_to_cost_more(checkpoint):
    task, part = registry.task(TASK)(), late(30)
    facts = testing.facts(task, part)
    for name in ("frozen", "encoder"):
        family = registry.family(name)
        cut, *others = [proposed(name, checkpoint, part, way)
                        for way in (None, WINDOWS, *([LOCAL] if name == "encoder" else []))]  # fmt: skip
        for whole in others:
            cheap, dear = (family.estimate(c, facts) for c in (cut, whole))
            assert dear.latency_ms > cheap.latency_ms
            assert dear.train_s > cheap.train_s
            assert family.pace(whole, task, part, facts).row_s >= family.pace(cut, task, part, facts).row_s or (
                whole["trained_layers"] == 2)  # fmt: skip


READING = """if True:
    import json, sys
    sys.modules |= {"torch": None, "transformers": None}
    from pathlib import Path
    from cutler import models
    from cutler.models.timed import _peak_mb
    model = models.load(Path(sys.argv[1]))
    model.scores([{"text": "parcel " * int(sys.argv[2])}])
    print(_peak_mb())
"""


def test_four_times_as_long_a_text_takes_at_most_four_and_a_half_times_the_memory(tmp_path):
    """And each token more costs about as much in a long text as in a short one: with full attention, five times."""
    place = testing.tiny_checkpoint(tmp_path / "wide", width=128)
    source = catalog.find(str(place))
    near = local.reading(bodies.load(source), 4096)
    model = Transformer(
        Candidate("encoder", str(place), {"reading": LOCAL}), Decision("class", ("a", "b"), ("text",)), body=near,
        pooling="mean", tokenizer=bodies.tokenizer(source, max_tokens=4096), joint=False, max_tokens=4096, source=place,
        head=Linear(np.ones((128, 2), dtype=np.float32), np.zeros(2, dtype=np.float32)), keep_weights=False,
    )  # fmt: skip
    model.save(tmp_path)
    peaks = {n: float(subprocess.run([sys.executable, "-c", READING, str(tmp_path), str(n)], check=True, text=True,
                                     capture_output=True).stdout) for n in (1, 1022, 4094)}  # fmt: skip
    assert peaks[4094] <= 4.5 * peaks[1022]
    assert (peaks[4094] - peaks[1022]) / 3 <= 1.5 * (peaks[1022] - peaks[1])


@pytest.mark.parametrize("way", [WINDOWS, LOCAL])
def test_fine_tuning_goes_on_from_a_model_that_reads_long_texts(way, checkpoint, tmp_path):
    part = late(30)
    candidate = proposed("encoder", checkpoint, part, way)
    before, onward = fitted(candidate, part, tmp_path / "first", until=2), tmp_path / "second"
    start = onward / candidate.key / "start"
    start.mkdir(parents=True)
    before.save(start)
    after = fitted(candidate, part, onward, until=2)
    assert after.truncated(part.validation) == 0.0
    assert len(after.predict(part.validation)) == len(part.validation)
    weights, onto = (dict(model.body.named_parameters()) for model in (before, after))
    assert all(torch.allclose(weights[name], onto[name], atol=0.01) for name in weights)
