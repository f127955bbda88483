"""Two processes run the tests on two cores: none of them takes more threads than one. A checkpoint for all."""

from __future__ import annotations

import os
import tempfile

import pytest

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("CUTLER_CACHE", tempfile.mkdtemp(prefix="cutler-cache-"))  # of tiny checkpoints


@pytest.fixture(scope="session")
def decoder(tmp_path_factory):
    """The folder of a tiny Llama of random weights."""
    from cutler import testing  # only now, as below

    return str(testing.tiny_decoder(tmp_path_factory.mktemp("checkpoint") / "tiny-llama"))


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory):
    """The folder of a tiny BERT of random weights."""
    from cutler import testing  # only now: numpy reads the number of threads when it is imported

    return str(testing.tiny_checkpoint(tmp_path_factory.mktemp("checkpoint") / "tiny-bert"))
