"""What is kept on disk is there for later runs, is whole or not used, and never more than it may be."""

from __future__ import annotations

import os

import numpy as np
import pytest

from cutler import catalog, registry, testing
from cutler.models import body, kept, keys, states

ARRAY = np.arange(12, dtype=np.float16).reshape(3, 4)
TEXTS = ["a fee that nobody explained", "my account is locked"]


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """A cache of this test's own."""
    monkeypatch.setenv("CUTLER_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "features"


def entry(folder, key="a"):
    return kept.Entry(folder / "array.npy", key)


def never():
    raise AssertionError("it is there already")


def altered(file):
    file.write_bytes(file.read_bytes()[:-70] + b"\xff" * 10 + file.read_bytes()[-60:])


def cut(file):
    file.write_bytes(file.read_bytes()[:-9])


def emptied(file):
    file.write_bytes(b"")


def test_what_one_run_computed_another_takes_from_the_cache(tmp_path):
    assert (entry(tmp_path / "one").made(lambda: ARRAY) == ARRAY).all()
    assert (entry(tmp_path / "two").made(never) == ARRAY).all()
    assert (tmp_path / "two" / "array.npy").is_file()


def test_what_has_no_key_is_of_its_run_alone(tmp_path, cache):
    entry(tmp_path / "one", key="").made(lambda: ARRAY)
    assert not cache.exists()
    assert entry(tmp_path / "one", key="").array() is not None
    assert entry(tmp_path / "two", key="").array() is None


def test_what_has_a_key_alone_is_found_by_it(tmp_path):
    kept.Entry(None, "b").made(lambda: ARRAY)
    assert (kept.Entry(None, "b").made(never) == ARRAY).all()
    assert kept.Entry(None).made(lambda: ARRAY + 1).max() == 12


@pytest.mark.parametrize("damage", [altered, cut, emptied])
@pytest.mark.parametrize("where", ["run", "cache"])
def test_a_damaged_file_is_never_used_but_computed_anew(damage, where, tmp_path, cache, caplog):
    entry(tmp_path / "one").made(lambda: ARRAY)
    there = cache / "a.npy" if where == "cache" else tmp_path / "one" / "array.npy"
    if where == "run":  # with the cache as it is, the run's file would be mended from there
        (cache / "a.npy").unlink()
    damage(there)
    found = entry(tmp_path / ("two" if where == "cache" else "one")).made(lambda: ARRAY + 1)
    assert (found == ARRAY + 1).all()
    assert "computed anew" in caplog.text


def test_a_file_in_the_run_that_was_cut_is_mended_from_the_cache(tmp_path, cache):
    entry(tmp_path / "one").made(lambda: ARRAY)
    whole = tmp_path / "one" / "array.npy"
    content = whole.read_bytes()
    whole.unlink()
    whole.write_bytes(content[:-1])
    assert (entry(tmp_path / "one").made(never) == ARRAY).all()


def test_what_was_written_in_pieces_is_sealed_and_kept(tmp_path):
    one = entry(tmp_path / "one", key="c")
    flat = np.lib.format.open_memmap(one.begin(), mode="w+", dtype=np.float16, shape=ARRAY.shape)
    flat[:] = ARRAY
    flat.flush()
    assert one.array() is None, "it is not sealed yet"
    assert (one.sealed(one.begin()) == ARRAY).all()
    assert (entry(tmp_path / "two", key="c").made(never) == ARRAY).all()


def test_what_was_not_used_for_longest_goes_first(tmp_path, cache, monkeypatch):
    size = kept.Entry(tmp_path / "x" / "x.npy").keep(ARRAY) is not None and (tmp_path / "x" / "x.npy").stat().st_size
    monkeypatch.setenv(kept.VARIABLE, str(2.5 * size / 1e6))
    for turn, key in enumerate("de"):
        kept.Entry(None, key).keep(ARRAY)
        os.utime(cache / f"{key}.npy", (turn, turn))
    kept.Entry(None, "d").made(never)
    kept.Entry(None, "f").keep(ARRAY)
    assert sorted(file.stem for file in cache.glob("*.npy")) == ["d", "f"]
    assert sum(file.stat().st_size for file in cache.iterdir()) <= kept.most_bytes()


def test_what_would_fill_half_of_the_cache_is_not_kept_there(tmp_path, cache, monkeypatch):
    monkeypatch.setenv(kept.VARIABLE, str(1.5 * ARRAY.nbytes / 1e6))
    entry(tmp_path / "one").made(lambda: ARRAY)
    assert entry(tmp_path / "one").array() is not None
    assert not list(cache.parent.rglob("*.npy"))


@pytest.mark.parametrize("value", ["0", "-1", "none"])
def test_the_cache_can_be_turned_off(value, tmp_path, cache, monkeypatch):
    monkeypatch.setenv(kept.VARIABLE, value)
    entry(tmp_path / "one").made(lambda: ARRAY)
    assert not cache.exists()
    assert entry(tmp_path / "two").array() is None


def test_a_cache_that_cannot_be_written_is_none(tmp_path, cache):
    cache.parent.mkdir()
    cache.write_text("a file where a folder should be")
    assert (entry(tmp_path / "one").made(lambda: ARRAY) == ARRAY).all()


def test_only_their_owner_reads_what_is_kept_of_texts(cache, tmp_path):
    entry(tmp_path / "one").made(lambda: ARRAY)
    assert cache.stat().st_mode & 0o077 == 0


def test_what_an_ended_process_left_half_written_goes_in_time(cache, tmp_path):
    entry(tmp_path / "one").made(lambda: ARRAY)
    old, new = cache / "x.partial", cache / "y.partial"
    old.write_bytes(b"half")
    new.write_bytes(b"half")
    os.utime(old, (1, 1))
    kept.trim(kept.most_bytes())
    assert not old.exists()
    assert new.exists()


def test_features_of_a_later_run_are_those_of_the_first_to_the_last_bit(checkpoint, tmp_path, monkeypatch):
    source = catalog.find(checkpoint)
    network, reader = body.load(source), body.tokenizer(source, max_tokens=32)
    first = states.features(network, source, reader, TEXTS, folder=tmp_path / "one")
    assert states.known(source, 32, TEXTS)
    monkeypatch.setattr(states, "pooled_layers", lambda *_, **__: never())
    monkeypatch.setattr(states, "token_states", lambda *_: never())
    later = states.features(network, source, reader, TEXTS, folder=tmp_path / "two")
    assert (first == later).all()
    lower = states.stored_states(body.lower(network, 1), source, reader, TEXTS, folder=tmp_path / "two")
    assert lower.flat.shape[1] == source.width


def test_states_kept_by_a_pass_over_all_layers_are_those_of_the_lower_ones_alone(checkpoint, tmp_path, monkeypatch):
    source = catalog.find(checkpoint)
    network, reader = body.load(source), body.tokenizer(source, max_tokens=32)
    states.features(network, source, reader, TEXTS, folder=tmp_path / "one")
    of_all = np.array(states.stored_states(body.lower(network, 1), source, reader, TEXTS, folder=tmp_path / "one").flat)
    monkeypatch.setenv(kept.VARIABLE, "0")
    alone = states.stored_states(body.lower(network, 1), source, reader, TEXTS, folder=tmp_path / "two").flat
    assert (of_all == alone).all()


@pytest.mark.parametrize("change", ["tokenizer.json", "threads", "length", "texts"])
def test_features_are_of_one_tokenizer_length_and_number_of_threads(change, tmp_path, monkeypatch):
    source = catalog.find(str(testing.tiny_checkpoint(tmp_path / "tiny")))
    network, reader = body.load(source), body.tokenizer(source, max_tokens=32)
    states.features(network, source, reader, TEXTS, folder=tmp_path / "one")
    length, texts = 32, list(TEXTS)
    if change == "tokenizer.json":
        place = tmp_path / "tiny" / change
        place.write_text(place.read_text("utf-8") + "\n", "utf-8")
        keys._identity.cache_clear()
    elif change == "threads":
        monkeypatch.setattr(keys.torch, "get_num_threads", lambda: 77)
    elif change == "length":
        length = 16
    else:
        texts[0] = texts[0].upper()
    assert not states.known(source, length, texts)


def test_rows_that_an_earlier_run_read_cost_no_time_in_the_plan(checkpoint, tmp_path):
    task, part = registry.task("text_classification")(), testing.fold("text_classification")
    facts, frozen = testing.facts(task, part), registry.family("frozen")
    candidate = frozen.propose(task, facts, [checkpoint])[-1]
    assert frozen.pace(candidate, task, part, facts).row_s > 0
    frozen.fit(candidate, task, part, state=tmp_path / "run" / "a", until=1, monitor=lambda *_: None, seed=0)
    assert frozen.pace(candidate, task, part, facts).row_s == 0
