"""What a model costs, measured in a process of its own."""

from __future__ import annotations

import numpy as np
import pytest

from cutler import measure, testing
from cutler.errors import BundleError
from cutler.models.base import Decision
from cutler.models.constant import Constant
from cutler.types import Candidate

ROWS = testing.rows("text_classification", 30)


@pytest.fixture
def model(tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    Constant(Candidate("majority"), Decision("class", ("a", "b"), ("text",)), score=np.float32([1, 0])).save(folder)
    return folder


def test_size_counts_what_predicting_reads_and_not_the_weights_for_training(model):
    before = measure.size_mb(model)
    assert before == pytest.approx(sum(path.stat().st_size for path in model.iterdir()) / 1e6)
    (model / "transformers").mkdir()
    (model / "transformers" / "model.safetensors").write_bytes(b"x" * 1000)
    assert measure.size_mb(model) == before
    (model / "terms.json").write_bytes(b"x" * 1_000_000)
    assert measure.size_mb(model) == pytest.approx(before + 1)


def test_every_cost_is_measured(model):
    found = measure.cost(model, ROWS, inputs=("text",), train_s=2.5, threads=1, seed=0)
    assert found.train_s == 2.5
    assert 0 < found.latency_ms < 100
    assert found.throughput > 100
    assert 20 < found.memory_mb < 2000
    assert found.size_mb == measure.size_mb(model)


def test_an_artefact_that_cannot_be_run_is_refused_with_its_last_words(model):
    (model / "model.safetensors").write_bytes(b"nothing")
    with pytest.raises(BundleError, match="a model that runs in"):
        measure.cost(model, ROWS, inputs=("text",), train_s=1, threads=1, seed=0)


def test_threads_are_told_to_every_library(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    found = measure.environment(3)
    assert {found[f"{name}_NUM_THREADS"] for name in ("OMP", "OPENBLAS", "MKL")} == {"3"}
    assert found["CUTLER_THREADS"] == "3"
    assert "PATH" in found


def test_the_machine_is_named():
    found = measure.machine()
    assert found["cores"] >= 1
    assert all(found[name] for name in ("processor", "system", "python"))
