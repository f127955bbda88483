"""The training loop: any step can be the last, any stop can go on, the best weights are kept."""

from __future__ import annotations

import itertools
import time

import numpy as np
import pytest
import torch
from torch import nn

from cutler import train
from cutler.errors import Stopped, UsageError

RECIPE = train.Recipe(learning_rate=0.02, batch=8, warmup=2)


class Setting:
    """A small regression: 50 rows, a network with dropout, and a record of what the loop did."""

    def __init__(self, state, *, recipe=RECIPE, seed=3):
        torch.manual_seed(0)
        self.x = torch.randn(50, 6)
        self.y = self.x.sum(dim=1, keepdim=True)
        self.network = nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Dropout(0.2), nn.Linear(16, 1))
        self.lengths = np.random.default_rng(0).integers(3, 40, 50)
        self.state, self.recipe, self.seed = state, recipe, seed
        self.batches, self.told = [], []

    def loss(self, places):
        self.batches.append(places.tolist())
        return (self.network(self.x[places]) - self.y[places]).square().mean()

    def run(self, until, *, evaluate=None, every=1000, monitor=None, at_start=False):
        groups = [list(self.network[0].parameters()), list(self.network[3].parameters())]
        return train.run(
            self.network, train.Examples(self.lengths, self.loss), recipe=self.recipe, groups=groups, until=until,
            state=self.state, evaluate=evaluate or itertools.count().__next__, every=every, seed=self.seed,
            at_start=at_start,
            monitor=monitor or (lambda step, score: self.told.append((step, score))),
        )  # fmt: skip

    def weights(self):
        return torch.cat([p.detach().flatten() for p in self.network.parameters()])


def error(setting):
    setting.network.eval()
    with torch.no_grad():
        return float((setting.network(setting.x) - setting.y).square().mean())


def test_training_learns(tmp_path):
    setting = Setting(tmp_path)
    before = error(setting)
    assert setting.run(120).step == 120
    assert error(setting) < before / 5


def test_going_on_from_a_stop_gives_the_weights_of_an_undisturbed_run(tmp_path):
    whole, parts = Setting(tmp_path / "whole"), Setting(tmp_path / "parts")
    whole.run(60)
    parts.run(15)
    assert (tmp_path / "parts" / "state.safetensors").is_file()
    again = Setting(tmp_path / "parts")
    assert again.run(40).step == 40
    last = Setting(tmp_path / "parts")
    last.run(60)
    assert torch.equal(last.weights(), whole.weights())


def test_a_run_that_goes_on_starts_where_the_stable_part_ended_and_sees_the_batches_that_follow(tmp_path):
    whole, first = Setting(tmp_path / "whole"), Setting(tmp_path / "parts")
    whole.run(30)
    first.run(10)
    second = Setting(tmp_path / "parts")
    second.run(30)
    assert len(first.batches) == 10
    assert second.batches == whole.batches[6:]  # the last four of ten steps were decay


@pytest.mark.parametrize("dies_at", [13, 17, 20])
def test_a_run_that_dies_comes_to_the_same_end_when_it_is_begun_again(dies_at, tmp_path):
    scores = {5: 0.2, 10: 0.9, 15: 0.5, 20: 0.1}  # the best before the decay, of which a new run would not know

    def judged(setting):
        return lambda: scores[len(setting.batches) + setting.before]

    whole, dying, again = (Setting(tmp_path / name) for name in ("whole", "parts", "parts"))
    whole.before = dying.before = 0
    whole.run(20, evaluate=judged(whole), every=5)
    real, count = dying.loss, itertools.count(1)
    dying.loss = lambda places: real(places) if next(count) < dies_at else 1 / 0
    with pytest.raises(ZeroDivisionError):
        dying.run(20, evaluate=judged(dying), every=5)
    again.before = 12  # where the stable part ended
    assert again.run(20, evaluate=judged(again), every=5).best_step == 10
    assert torch.equal(again.weights(), whole.weights())
    assert again.told[-1] == whole.told[-1] == (20, 0.9)


def test_a_state_that_was_cut_short_or_is_of_a_longer_run_is_left(tmp_path, caplog):
    fresh, longer, short = (Setting(tmp_path / name) for name in ("fresh", "parts", "parts"))
    fresh.run(10)
    longer.run(60)
    short.run(10)
    assert torch.equal(short.weights(), fresh.weights())
    file = tmp_path / "parts" / "state.safetensors"
    file.write_bytes(file.read_bytes()[:100])
    torn = Setting(tmp_path / "parts")
    torn.run(10)
    assert torch.equal(torn.weights(), fresh.weights())
    assert "begins anew" in caplog.text


def test_a_loss_that_is_no_number_ends_the_run_with_the_best_weights_before(tmp_path, caplog):
    setting, count = Setting(tmp_path), itertools.count(1)
    real = setting.loss
    setting.loss = lambda places: real(places) * (float("nan") if next(count) == 8 else 1.0)
    assert setting.run(20, every=5).step == 7
    assert torch.isfinite(setting.weights()).all()
    assert "no finite number" in caplog.text


def test_a_loss_that_is_no_number_before_anything_was_scored_is_an_error_with_its_step(tmp_path):
    setting = Setting(tmp_path)
    real = setting.loss
    setting.loss = lambda places: real(places) * float("inf")
    with pytest.raises(UsageError, match="at step 1"):
        setting.run(20, every=5)


def test_another_seed_gives_other_batches_and_the_same_seed_the_same(tmp_path):
    settings = [Setting(tmp_path / str(n), seed=seed) for n, seed in enumerate((3, 3, 4))]
    for setting in settings:
        setting.run(10)
    assert settings[0].batches == settings[1].batches != settings[2].batches
    assert torch.equal(settings[0].weights(), settings[1].weights())


def test_an_epoch_holds_every_row_once_in_batches_of_like_length(tmp_path):
    setting = Setting(tmp_path)
    setting.run(14)
    assert sorted(itertools.chain(*setting.batches[:7])) == list(range(50))
    assert sorted(itertools.chain(*setting.batches[7:])) == list(range(50))
    spread = [np.ptp(setting.lengths[places]) for places in setting.batches]
    assert np.mean(spread) < 10 < np.ptp(setting.lengths)


def test_the_rate_rises_stays_and_falls_to_nothing():
    factors = [train._factor(step, 60, 100, train.Recipe(1.0, warmup=10)) for step in range(101)]
    assert factors[:10] == pytest.approx([(i + 1) / 10 for i in range(10)])
    assert set(factors[10:61]) == {1.0}
    assert factors[60:] == pytest.approx([1 - i / 40 for i in range(41)])


def test_the_weights_that_validation_liked_best_are_kept(tmp_path):
    setting = Setting(tmp_path)
    scores, seen = iter([0.2, 0.9, 0.5, 0.1]), []

    def evaluate():
        seen.append(setting.weights().clone())
        return next(scores)

    progress = setting.run(20, evaluate=evaluate, every=5)
    assert (progress.best, progress.best_step) == (0.9, 10)
    assert torch.equal(setting.weights(), seen[1])
    assert setting.told == [(5, 0.2), (10, 0.9), (15, 0.9), (20, 0.9)]


def test_a_monitor_that_has_seen_enough_ends_the_run_with_a_usable_network(tmp_path):
    def enough(step, score):
        if step >= 6:
            raise Stopped("seen enough")

    setting = Setting(tmp_path)
    assert setting.run(50, every=3, monitor=enough).step == 6
    assert len(setting.batches) == 6
    assert not setting.network.training


def test_a_batch_too_large_for_memory_is_cut_and_gives_the_same_step(tmp_path, caplog):
    plain, short = (Setting(tmp_path / name, recipe=train.Recipe(0.02, batch=8, warmup=2)) for name in "ab")
    for setting in (plain, short):
        setting.network[2].p = 0.0
    whole = short.loss

    def once_too_large(places):
        if len(places) > 4:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
        return whole(places)

    short.loss = once_too_large
    plain.run(3)
    short.run(3)
    assert max(len(places) for places in short.batches) == 4 < max(len(places) for places in plain.batches)
    assert [*itertools.chain(*short.batches)] == [*itertools.chain(*plain.batches)]
    assert torch.allclose(short.weights(), plain.weights(), atol=1e-6)
    assert "cut into 2 parts" in caplog.text


def test_another_error_of_the_loss_is_not_swallowed(tmp_path):
    setting = Setting(tmp_path)

    def broken(places):
        raise RuntimeError("shapes do not match")

    setting.loss = broken
    with pytest.raises(RuntimeError, match="shapes"):
        setting.run(3)


def test_what_does_not_fit_row_by_row_is_not_tried_for_ever(tmp_path):
    setting = Setting(tmp_path)

    def never(places):
        raise RuntimeError("out of memory")

    setting.loss = never
    with pytest.raises(RuntimeError, match="out of memory"):
        setting.run(3)


def test_layers_below_learn_slower_by_layer_decay_and_biases_do_not_decay(tmp_path):
    network = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    groups = [list(part.parameters()) for part in network]
    settings = train._optimizer(groups, train.Recipe(1e-3, layer_decay=0.5, weight_decay=0.1)).param_groups
    assert [(g["lr"], g["weight_decay"]) for g in settings] == [(1e-3, 0.1), (1e-3, 0), (5e-4, 0.1), (5e-4, 0)]


def test_state_on_disk_is_safetensors_alone(tmp_path):
    Setting(tmp_path).run(10)
    assert [path.name for path in tmp_path.iterdir()] == ["state.safetensors"]


def test_batches_of_long_texts_are_cut_and_give_the_same_step(tmp_path):
    short, long = Setting(tmp_path / "short"), Setting(tmp_path / "long")
    long.lengths = short.lengths * 0 + train.MOST_TOKENS // 3
    short.lengths = short.lengths * 0 + 10
    for setting in (short, long):
        setting.network[2].p = 0.0
        setting.run(3)
    assert max(map(len, long.batches)) == 3 < max(map(len, short.batches)) == RECIPE.batch
    assert sum(long.batches, []) == sum(short.batches, [])
    assert torch.allclose(long.network[0].weight, short.network[0].weight, atol=1e-5)


class Asking:
    """A monitor that wants to hear of one step out of turn, and then ends the run."""

    def __init__(self, step):
        self.step, self.heard = step, []

    def asks(self, step):
        return step == self.step

    def __call__(self, step, score):
        self.heard.append(step)
        if step >= self.step:
            raise Stopped("time is over")


def test_a_monitor_may_ask_for_a_look_between_checks_so_that_few_slow_steps_do_not_overstay(tmp_path):
    monitor = Asking(7)
    assert Setting(tmp_path).run(50, every=1000, monitor=monitor).step == 7
    assert monitor.heard == [7]


class AskingForTheStart(Asking):
    def __call__(self, step, score):
        self.heard.append((step, score))


def test_what_is_worse_than_the_start_is_not_left_where_the_start_is_scored(tmp_path):
    setting = Setting(tmp_path)
    before, scores = setting.weights().clone(), iter([0.8, 0.3, 0.7])
    progress = setting.run(20, evaluate=lambda: next(scores), every=10, at_start=True)
    assert (progress.best, progress.best_step) == (0.8, 0)
    assert torch.equal(setting.weights(), before)
    assert [step for step, _ in setting.told] == [10, 20]


def test_a_monitor_hears_of_the_start_if_it_asks(tmp_path):
    monitor, scores = AskingForTheStart(0), iter([0.2, 0.3])
    Setting(tmp_path).run(20, evaluate=lambda: next(scores), every=20, monitor=monitor, at_start=True)
    assert monitor.heard == [(0, 0.2), (20, 0.3)]


def test_a_run_that_goes_on_does_not_score_its_start_again(tmp_path):
    Setting(tmp_path).run(10, at_start=True)
    scores = iter([0.5])
    assert Setting(tmp_path).run(30, evaluate=lambda: next(scores), at_start=True).best_step == 30


def test_seconds_of_checks_are_told_apart(tmp_path):
    progress = Setting(tmp_path).run(10, evaluate=lambda: time.sleep(0.02) or 1.0, every=5)
    assert 0.04 <= progress.checking_s < progress.seconds


CAREFUL = train.Recipe(learning_rate=0.02, batch=8, warmup=2, careful=True)


def scored(*scores):
    return iter(scores).__next__


def test_the_mean_of_the_weights_over_the_decay_is_judged_in_the_end_and_kept_where_it_is_liked_as_well(tmp_path):
    taken = Setting(tmp_path / "taken", recipe=CAREFUL)
    seen = []
    taken.run(20, evaluate=lambda: seen.append(taken.weights()) or 0.5, every=1)
    assert taken.told[-2:] == [(20, 0.5), (20, 0.5)]
    assert torch.allclose(taken.weights(), torch.stack(seen[12:20]).mean(dim=0), atol=1e-6)
    left = Setting(tmp_path / "left", recipe=CAREFUL)
    left.run(20, evaluate=scored(0.5, 0.4), every=1000)
    assert torch.equal(left.weights(), seen[19])


def test_a_run_that_ends_early_averages_nothing(tmp_path):
    setting, monitor = Setting(tmp_path, recipe=CAREFUL), Asking(17)
    setting.run(20, monitor=monitor, every=1000)
    assert monitor.heard == [17]


def test_what_a_shorter_run_was_liked_for_stays_where_the_longer_finds_nothing_better(tmp_path):
    short = Setting(tmp_path, recipe=CAREFUL)
    short.run(10, evaluate=scored(0.9, 0.1))
    longer = Setting(tmp_path, recipe=CAREFUL)
    progress = longer.run(20, evaluate=scored(0.8, 0.7))
    assert (progress.best, progress.best_step, progress.step) == (0.9, 10, 20)
    assert torch.equal(longer.weights(), short.weights())
    better = Setting(tmp_path, recipe=CAREFUL)
    assert better.run(30, evaluate=scored(0.95, 0.7)).best_step == 30
    assert not torch.equal(better.weights(), short.weights())


@pytest.mark.parametrize("last", [0.95, 0.1])
def test_a_careful_run_that_died_in_its_decay_ends_as_one_that_was_not_disturbed(last, tmp_path):
    def killed(step, score):
        if step == 16:
            raise KeyboardInterrupt

    whole = Setting(tmp_path / "whole", recipe=CAREFUL)
    whole.run(20, evaluate=scored(0.9, 0.1, 0.2, last), every=8)
    with pytest.raises(KeyboardInterrupt):
        Setting(tmp_path / "died", recipe=CAREFUL).run(20, evaluate=scored(0.9, 0.1), every=8, monitor=killed)
    again = Setting(tmp_path / "died", recipe=CAREFUL)
    assert again.run(20, evaluate=scored(0.1, 0.2, last), every=8).best == max(0.9, last)
    assert torch.equal(again.weights(), whole.weights())
