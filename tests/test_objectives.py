"""What each pretraining objective hides, and what it asks for."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from cutler import registry
from cutler.errors import CheckpointError
from cutler.types import Vocabulary
from cutler.types.pretraining import IGNORED

END = 1


@pytest.fixture
def known():
    begins = np.ones(1000, dtype=bool)
    begins[500:] = False  # from here on tokens go on with the word before
    return Vocabulary(size=1000, pad=0, end=END, separators=(END, 2), begins=begins, plain=np.arange(100, 1000), mask=3,
                      sentinels=tuple(range(4, 60)))  # fmt: skip


@pytest.fixture
def blocks():
    """Words of two tokens each, an end after every ten."""
    rng = np.random.default_rng(0)
    found = np.stack([rng.integers(100, 500, (40, 120)), rng.integers(500, 1000, (40, 120))], axis=2).reshape(40, 240)
    found[:, 20::21] = END
    return found


def test_whole_words_are_hidden_fifteen_tokens_in_a_hundred_and_no_separators(blocks, known):
    found = registry.objective("masked_lm").examples(blocks, known, np.random.default_rng(0))
    hidden = found["labels"] != IGNORED
    assert abs(hidden[blocks != END].mean() - 0.15) < 0.01
    assert not hidden[blocks == END].any()
    firsts = known.begins[blocks] & (blocks != END)
    follows = np.roll(~known.begins[blocks], -1, axis=1)
    both = (firsts & follows)[:, :-1]
    assert np.array_equal(hidden[:, :-1][both], hidden[:, 1:][both])


def test_of_hidden_tokens_eight_in_ten_are_masks_one_is_another_and_one_stays(blocks, known):
    found = registry.objective("masked_lm").examples(np.tile(blocks, (20, 1)), known, np.random.default_rng(0))
    hidden = found["labels"] != IGNORED
    read, true = found["input_ids"][hidden], found["labels"][hidden]
    assert abs((read == known.mask).mean() - 0.8) < 0.02
    assert abs((read == true).mean() - 0.1) < 0.02
    assert abs(((read != known.mask) & (read != true)).mean() - 0.1) < 0.02


def test_spans_and_what_is_left_give_the_block_back(blocks, known):
    found = registry.objective("span_denoising").examples(blocks, known, np.random.default_rng(0))
    for block, read, written in zip(blocks, found["input_ids"], found["labels"], strict=True):
        spans, mark = {}, 0
        for token in written[:-1].tolist():
            if token in known.sentinels:
                mark = token
                spans[mark] = []
            else:
                spans[mark].append(token)
        whole = [token for each in read[:-1].tolist() for token in spans.get(each, [each])]
        assert whole == block.tolist()
        assert (read[-1], written[-1]) == (known.end, known.end)


def test_spans_are_of_three_tokens_on_average_and_fifteen_in_a_hundred(blocks, known):
    written = registry.objective("span_denoising").examples(blocks, known, np.random.default_rng(0))["labels"]
    marks = np.isin(written, known.sentinels).sum(axis=1)
    taken = written.shape[1] - 1 - marks
    assert abs(taken.mean() / 240 - 0.15) < 0.01
    assert abs((taken / marks).mean() - 3) < 0.2


@pytest.mark.parametrize("max_tokens", [32, 256, 512])
def test_a_block_with_its_spans_out_fills_what_the_network_reads(max_tokens, known):
    objective = registry.objective("span_denoising")
    block = np.full((1, objective.block(max_tokens)), 100)
    read = objective.examples(block, known, np.random.default_rng(0))["input_ids"]
    assert max_tokens - 1 <= read.shape[1] <= max_tokens


def test_spans_need_as_many_sentinels(blocks, known):
    few = replace(known, sentinels=known.sentinels[:2])
    with pytest.raises(CheckpointError, match="sentinels"):
        registry.objective("span_denoising").examples(blocks, few, np.random.default_rng(0))
