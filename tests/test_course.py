"""The way to a model by gradient: how often validation is looked at on it."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from cutler import train
from cutler.families._course import CHECKING, Course


@pytest.mark.parametrize("until", [20, 47, 160, 1000, 5000])
@pytest.mark.parametrize("n_checked", [10, 300, 1000])
@pytest.mark.parametrize("n_train", [200, 5000])
def test_checks_take_a_tenth_of_training_at_most_but_for_the_one_at_the_end(until, n_checked, n_train):
    course = SimpleNamespace(checked=np.arange(n_checked), recipe=train.Recipe(1e-4), fold=SimpleNamespace(
        train=range(n_train)))  # fmt: skip
    course.checks_affordable = lambda until: Course.checks_affordable(course, until)
    every = Course.steps_between_checks(course, until)
    at_start = course.checks_affordable(until) > 1
    checks = at_start + sum(step % every == 0 or step == until for step in range(1, until + 1))
    assert checks == 1 or checks * n_checked <= CHECKING * 3 * course.recipe.batch * until
