"""How much of being the best of many is luck: simulated candidates whose worth is known."""

from __future__ import annotations

import time

import numpy as np
import pytest

from cutler import metrics, registry
from cutler.metrics import luck

TASK = registry.task("text_classification")()
DRAWS = 300


def right(random, n_rows, worth, *, shared=0.0):
    """(rows, candidates): whether each answers each row right; `shared` of the rows are as hard for all."""
    own, common = random.random((n_rows, len(worth))), random.random((n_rows, 1))
    return np.where(random.random((n_rows, 1)) < shared, common, own) < np.asarray(worth)


def contest(answers, seed=0):
    """A contest of candidates that are right so, and their scores on what draws left out."""
    counts = metrics.bootstrap_weights(len(answers), DRAWS, seed=seed)
    drawn, outside = (each.astype(float) @ answers / each.sum(axis=1, keepdims=True)
                      for each in (counts, luck.left_out(counts)))  # fmt: skip
    return luck.Contest(answers.mean(axis=0), drawn, outside=outside), outside


def chosen(found, scores=None, tolerance=0.003):
    """Candidates stand in the order of their price."""
    seen = found.scores[None] if scores is None else scores
    return luck.choices(found.losses(seen), range(len(found.scores)), tolerance)


@pytest.mark.parametrize(("n_rows", "candidates", "often"), [(400, 20, 0.45), (1000, 10, 0.6), (4000, 20, 0.75)])
def test_of_equally_good_models_the_cheapest_is_chosen_or_one_that_costs_hardly_more(n_rows, candidates, often):
    random = np.random.default_rng(3)
    taken, luckiest = [], []
    for _ in range(60):
        found, _ = contest(right(random, n_rows, [0.9] * candidates, shared=0.5))
        taken.append(chosen(found)[0])
        luckiest.append(found.scores.argmax())
    assert np.mean(np.array(taken) == 0) >= often
    assert np.mean(taken) / (candidates - 1) < 0.12
    assert np.mean(luckiest) / (candidates - 1) > 0.35


@pytest.mark.parametrize("shared", [0.0, 0.6])
def test_one_that_is_better_by_five_points_on_a_thousand_rows_is_chosen_though_it_is_the_dearest(shared):
    random = np.random.default_rng(4)
    worth = [0.85] * 9 + [0.90]
    last = [chosen(contest(right(random, 1000, worth, shared=shared))[0])[0] == 9 for _ in range(40)]
    assert np.mean(last) >= 0.9


def test_near_copies_of_a_worse_model_do_not_hide_a_better_one():
    random = np.random.default_rng(5)
    picks = []
    for _ in range(30):
        two = right(random, 1000, [0.86, 0.90], shared=0.5)
        copies = np.repeat(two[:, :1], 6, axis=1)
        copies[random.integers(0, 1000, 6), np.arange(6)] ^= True
        picks.append(chosen(contest(np.column_stack([copies, two[:, 1]]))[0])[0])
    assert np.mean(np.array(picks) == 6) >= 0.9


def test_the_best_of_twenty_coin_flips_is_worth_a_half():
    random = np.random.default_rng(6)
    seen, worth = [], []
    for _ in range(20):
        found, outside = contest(right(random, 500, [0.5] * 20))
        seen.append(found.scores.max())
        worth.append(luck.corrected(found.drawn.argmax(axis=1), outside))
    assert np.mean(seen) > 0.53
    assert np.mean(worth) == pytest.approx(0.5, abs=0.008)


def test_what_lasts_of_a_difference_grows_with_the_rows_that_speak_for_it():
    lost = []
    for n_rows in (200, 2000, 20_000):
        answers = np.zeros((n_rows, 2), dtype=bool)
        answers[: int(0.88 * n_rows), 0] = True
        answers[-int(0.90 * n_rows) :, 1] = True
        lost.append(contest(answers)[0].losses()[0])
    assert 0 < lost[0] < lost[1] < lost[2]
    assert lost[2] == pytest.approx(0.02, abs=0.001)


def test_a_difference_that_chance_cannot_explain_stays_as_it_was_seen():
    found, _ = contest(right(np.random.default_rng(0), 1000, [0.3, 0.9, 0.9]))
    assert found.losses()[0] == pytest.approx(found.scores.max() - found.scores[0])
    assert not found.within[0]


def test_equal_answers_are_worth_the_same():
    one = right(np.random.default_rng(0), 500, [0.8])
    found, _ = contest(np.repeat(one, 4, axis=1))
    assert found.losses() == pytest.approx(0, abs=1e-9)
    assert chosen(found)[0] == 0


def test_one_candidate_alone_loses_nothing_and_is_chosen_again():
    found, outside = contest(right(np.random.default_rng(0), 200, [0.8]))
    assert found.losses().tolist() == [0.0]
    assert (chosen(found, found.again(seed=1)) == 0).all()
    assert luck.corrected(np.zeros(DRAWS, dtype=np.int64), outside) == pytest.approx(found.scores[0], abs=0.01)


def test_the_probability_of_the_same_choice_is_that_with_which_another_run_makes_it():
    """Of pairs of runs on other rows, about as many agree as the first of each said."""
    random = np.random.default_rng(8)
    said, same = [], []
    for _ in range(60):
        worth = 0.88 + random.normal(0, 0.01, size=6)
        first, second = (contest(right(random, 600, worth, shared=0.4))[0] for _ in range(2))
        pick = chosen(first)[0]
        said.append((chosen(first, first.again(seed=2)) == pick).mean())
        same.append(chosen(second)[0] == pick)
    assert np.mean(said) == pytest.approx(np.mean(same), abs=0.15)


def test_seeds_that_differ_more_than_rows_explain_make_a_candidate_less_sure():
    random = np.random.default_rng(9)
    noise = random.normal(0, 0.01, size=DRAWS)
    steady = np.stack([0.9 + noise, 0.9 + noise])
    shaky = np.stack([0.87 + noise, 0.93 + noise])
    means, added = luck.over_seeds([steady, shaky, 0.9 + noise[None]])
    assert means.shape == (DRAWS, 3)
    assert added[0] == added[1] > 1e-4
    assert added[2] == 0
    assert luck.over_seeds([steady, steady])[1] == pytest.approx([0, 0], abs=1e-12)


def test_a_draw_that_leaves_no_row_out_is_not_counted():
    outside = np.array([[0.5], [np.nan]])
    assert luck.corrected(np.array([0, 0]), outside) == 0.5
    assert np.isnan(luck.corrected(np.array([0]), np.array([[np.nan]])))


def test_thirty_candidates_on_five_thousand_rows_take_about_a_second():
    random = np.random.default_rng(1)
    answers = [["ab"[int(flag)] for flag in column] for column in right(random, 5000, [0.9] * 30).T]
    targets = ["b"] * 5000
    began = time.process_time()
    counts = metrics.bootstrap_weights(5000, 1000)
    both = np.concatenate([counts, luck.left_out(counts[:400])])
    drawn = np.stack([TASK.resampled(targets, each, both) for each in answers], axis=1)
    found = luck.Contest(drawn.mean(axis=0), drawn[:1000])
    chosen(found, found.again(seed=0))
    assert time.process_time() - began < 6
