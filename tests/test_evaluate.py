from __future__ import annotations

import math

import numpy as np
import pytest
import samples
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

from cutler import evaluate
from cutler.errors import DataError
from cutler.types import Interval


class Short(samples.Told):
    def truncated(self, rows):
        return sum(len(row["text"]) > 40 for row in rows) / len(rows)


def on_test(model, task, rows, floors=None, *, examples=True, seed=3):
    return evaluate.on_test(model, task, rows, floors=floors or {}, examples=examples, seed=seed)


def test_metrics_come_with_the_primary_first_and_intervals_around_them():
    rows = samples.rows(400)
    found = on_test(samples.told(rows, 0.8), samples.task(metric="recall:login"), rows)
    assert list(found.metrics) == ["recall:login", "accuracy", "macro_f1"]
    for each in found.metrics.values():
        assert each.low < each.value < each.high
    assert found.metrics["accuracy"].high - found.metrics["accuracy"].low == pytest.approx(0.08, abs=0.02)
    assert found.n_test == 400


def test_labels_are_judged_as_scikit_learn_judges_them():
    rows = samples.rows(300)
    model = samples.told(rows, 0.7)
    found = on_test(model, samples.task(), rows)
    truth, answers = [row["label"] for row in rows], [a.value for a in model.predict(rows)]
    assert np.array_equal(found.confusion, confusion_matrix(truth, answers, labels=found.labels))
    theirs = precision_recall_fscore_support(truth, answers, labels=found.labels)
    ours = [[facts[k] for facts in found.per_label.values()] for k in ("precision", "recall", "f1", "rows")]
    assert np.array(ours) == pytest.approx(np.array(theirs), abs=1e-6)


def test_the_gain_is_over_the_better_floor_and_paired():
    rows = samples.rows(400)
    good = samples.told(rows, 0.8)
    floors = {"majority": samples.Told({}, otherwise="billing"), "linear": good}
    found = on_test(good, samples.task(), rows, floors)
    assert found.gain == Interval(0.0, 0.0, 0.0)
    assert found.floor["linear"] == found.metrics
    over_majority = on_test(good, samples.task(), rows, {"majority": floors["majority"]}).gain
    assert over_majority.low > 0.2


def test_without_a_floor_there_is_no_gain():
    rows = samples.rows(30)
    assert on_test(samples.told(rows, 0.8), samples.task(), rows).gain == Interval(0.0, 0.0, 0.0)


def test_confident_errors_come_first_and_long_texts_are_cut():
    rows = [{"text": f"{n} " + "x" * n * 9, "label": "a"} for n in range(100)]
    sure = {row["text"]: ("b", n / 100) for n, row in enumerate(rows)}
    sure[rows[99]["text"]] = ("b", math.nan)
    sure[rows[98]["text"]] = ("a", 1.0)
    found = on_test(samples.Told(sure, otherwise="a"), samples.task(), rows).errors
    assert [error["row"] for error in found[:2]] == [98, 97]
    assert len(found) == evaluate.SHOWN
    assert max(len(error["text"]) for error in found) == 400
    assert found[0]["text"].endswith("…")
    assert found[0]["truth"] == "a"
    assert found[0]["answer"] == "b"


def test_no_text_is_quoted_without_leave():
    rows = samples.rows(60)
    found = on_test(samples.told(rows, 0.5), samples.task(), rows, examples=False)
    assert found.errors == ()
    assert found.confusion


def test_several_labels_at_once_are_judged_without_a_confusion():
    rows = [{"text": str(n), "labels": ("a", "b") if n % 2 else ()} for n in range(40)]
    model = samples.Told({str(n): (("b", "a"), 0.9) for n in range(0, 40, 3)}, otherwise=())
    found = on_test(model, samples.task("multi_label_classification", metric="accuracy"), rows)
    assert found.confusion == ()
    assert found.labels == ("a", "b")
    assert found.per_label["a"]["rows"] == 20
    right = sum((n % 3 == 0) == (n % 2 == 1) for n in range(40)) / 40
    assert found.metrics["accuracy"].value == pytest.approx(right)
    assert len(found.errors) == round(40 * (1 - right))


def test_numbers_are_judged_by_distance_and_a_smaller_rmse_is_a_gain():
    rows = [{"text": str(n), "text_pair": "p" * 500, "score": float(n % 5)} for n in range(50)]
    near = samples.Told({str(n): (n % 5 + (0.5 if n else 3.0), math.nan) for n in range(50)}, otherwise=0.0)
    found = on_test(
        near, samples.task("text_pair_regression", metric="rmse"), rows, {"majority": samples.Told({}, otherwise=2.0)}
    )
    assert found.gain.low > 0
    apart = found.floor["majority"]["rmse"].value - found.metrics["rmse"].value
    assert found.gain.value == pytest.approx(apart / np.std([row["score"] for row in rows]))
    assert found.errors[0]["row"] == 1
    assert found.errors[0]["text"] == "0 ‖ " + "p" * 199 + "…"
    assert (found.labels, found.per_label, found.confusion) == ((), {}, ())


def test_a_model_that_reads_only_so_far_is_asked_how_often():
    rows = [{"text": "x" * n, "label": "a"} for n in range(1, 81)]
    assert on_test(Short({}, otherwise="a"), samples.task(), rows).truncated == 0.5
    assert on_test(samples.Told({}, otherwise="a"), samples.task(), rows).truncated == 0


def test_the_same_seed_gives_the_same_intervals():
    rows = samples.rows(80)
    first, again, other = (on_test(samples.told(rows, 0.7), samples.task(), rows, seed=s) for s in (1, 1, 2))
    assert first == again
    assert first.metrics != other.metrics


def test_rows_of_a_later_file_give_every_metric_with_its_interval():
    rows = samples.rows(90)
    found = evaluate.on_rows(samples.told(rows, 0.9), samples.task(), rows, 0)
    assert list(found) == ["accuracy", "macro_f1"]
    assert found["accuracy"].low < found["accuracy"].value


def test_no_rows_are_refused():
    with pytest.raises(DataError, match="Found none"):
        evaluate.on_rows(samples.Told({}, otherwise="a"), samples.task(), [], 0)
