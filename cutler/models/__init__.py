"""Fitted models by stored format: what families build, compressors transform and bundles load."""

from __future__ import annotations

import importlib
import json
from pathlib import Path

from cutler import registry
from cutler.errors import BundleError
from cutler.models.base import Stored

FORMATS = {"constant": "Constant", "tfidf": "Tfidf", "static": "Static", "onnx": "Onnx", "ensemble": "Ensemble",
           "wordwindow": "WordWindow", "copied": "Copied", "pointing": "Pointer", "sentences": "Sentences",
           "likelihood": "Likelihood", "writer": "Writer", "endpoint": "Endpoint", "tree": "Tree",
           "graph": "Graph", "seq2seq": "Seq2Seq", "lexical": "Lexical", "dense": "Dense",
           "fused": "Fused"}  # fmt: skip


def load(folder: Path) -> Stored:
    """The model that `Stored.save` wrote into `folder`. Raises BundleError where its format is unknown."""
    described = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    if described.get("format") not in FORMATS:
        raise BundleError(
            f"a model format out of {', '.join(FORMATS)}", found=repr(described.get("format")),
            do="open this bundle with the version of cutler that wrote it",
        )  # fmt: skip
    try:
        module = importlib.import_module(f"cutler.models.{described['format']}")
    except ModuleNotFoundError as error:
        raise registry.missing(error, f"a model of the format {described['format']}") from error
    stored: type[Stored] = getattr(module, FORMATS[described["format"]])
    found = stored.load(folder)
    assert isinstance(found, Stored)
    return found
