"""One side on one of these sets in this process: `python -m benchmarks.tasks.side NAME --set wnut17 --out FILE`.

A side that bears the name of a family is cutler held to that family, `warm` an encoder-decoder that starts from the
encoder's weights. Test rows reach a side once, without their truth.
"""

from __future__ import annotations

import argparse
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import child, tasks
from benchmarks.tasks import Asked, Row

Predict = Callable[[list[Row]], list[Any]]
FAMILIES = {name: (name,) for name in ("encoder", "decoder", "prompt", "encoder_decoder", "linear")}
KNOWN = ("cutler", "warm", "trainer", "bm25", "frozen", *FAMILIES)


@dataclass(frozen=True)
class Given:
    """What a side may see: training and validation rows with their truth, and the folder cutler reads."""

    asked: Asked
    parts: dict[str, list[Row]]
    folder: Path
    data: Path
    work: Path
    seed: int
    budget: str


def main() -> None:
    asked = _arguments()
    which = tasks.SETS[asked.set]
    parts = tasks.read(which, asked.data, rows=asked.rows)
    work = child.WORK / f"{asked.set}-{asked.seed}-{asked.side}"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    as_it_lies = which.plain and (not asked.rows or "features" in which.inputs)  # a part of a graph is another graph
    name = which.trained_on or which.lies_in
    folder = asked.data / name if as_it_lies else tasks.lay(which, parts, asked.data, work / "data")
    given = Given(which, parts, folder, asked.data, work, asked.seed, asked.budget or which.budget)
    predict, settings = fit(asked.side, given)
    train_s = time.time() - child.started_s()
    begin = time.perf_counter()
    answers = predict(tasks.given(which, parts["test"]))
    predict_s = time.perf_counter() - begin
    seconds = {"train_s": round(train_s, 2), "predict_s": round(predict_s, 3)}
    child.write(asked.out, {"answers": answers, **seconds, "settings": {"seed": asked.seed, **settings}})


def fit(side: str, given: Given) -> tuple[Predict, dict[str, Any]]:
    if side == "trainer":
        from benchmarks.tasks import recipes

        recipe = recipes.tags if given.asked.task == "token_classification" else recipes.questions
        return recipe(given.parts["train"], seed=given.seed, out=given.work)
    if side in ("bm25", "frozen"):
        return {"bm25": _bm25, "frozen": _frozen}[side](given)
    return _cutler(side, given)


def _cutler(side: str, given: Given) -> tuple[Predict, dict[str, Any]]:
    import cutler
    from benchmarks.sides.cutler import story

    out = given.work / "bundle.cutler"
    families = ("encoder_decoder",) if side == "warm" else FAMILIES.get(side, ())
    checkpoints = ("sentence-transformers/all-MiniLM-L6-v2",) if side == "warm" else ()
    fitted = cutler.fit(
        str(given.folder), task=given.asked.task or None, constraints=cutler.Constraints(budget=given.budget),
        out=str(out), seed=given.seed, threads=child.THREADS, families=families, checkpoints=checkpoints,
    )  # fmt: skip
    bundle = cutler.load(out)  # from disk, as it ships
    size = sum(file.stat().st_size for file in out.rglob("*") if file.is_file()) / 1e6
    told = {"budget": given.budget, "size_mb": round(size, 1), **story(fitted.card)}
    return lambda rows: [_plain(answer, given.asked) for answer in bundle.predict(rows)], told


def _plain(answer: Any, asked: Asked) -> Any:
    """What is scored of an answer: tags, the text of a span, ids of documents, or the value as it is."""
    if asked.task == "token_classification":
        return list(answer.tags)
    if asked.task == "text_retrieval":
        return [getattr(found, "id", found) for found in answer.value]
    if asked.task == "question_answering":
        return getattr(answer.value, "text", answer.value) or ""
    return answer.value


def _bm25(given: Given) -> tuple[Predict, dict[str, Any]]:
    """bm25s with its usual settings, English stop words left out."""
    import bm25s

    documents = tasks.corpus(given.asked, given.data)
    ids = list(documents)
    index = bm25s.BM25()
    index.index(bm25s.tokenize(list(documents.values()), stopwords="en", show_progress=False), show_progress=False)

    def predict(rows: list[Row]) -> list[Any]:
        asked = bm25s.tokenize([row["query"] for row in rows], stopwords="en", show_progress=False)
        found, _ = index.retrieve(asked, k=10, show_progress=False)
        return [[ids[place] for place in ranked] for ranked in found.tolist()]

    return predict, {"k1": index.k1, "b": index.b}


def _frozen(given: Given) -> tuple[Predict, dict[str, Any]]:
    """Cosine of sentence-transformers embeddings, as they come."""
    from sentence_transformers import SentenceTransformer

    from benchmarks.sides import minilm

    model = SentenceTransformer(minilm(), device="cpu")
    documents = tasks.corpus(given.asked, given.data)
    ids = list(documents)
    vectors = model.encode(list(documents.values()), normalize_embeddings=True, show_progress_bar=False)

    def predict(rows: list[Row]) -> list[Any]:
        asked = model.encode([row["query"] for row in rows], normalize_embeddings=True, show_progress_bar=False)
        return [[ids[place] for place in ranked[:10]] for ranked in (-(asked @ vectors.T)).argsort(axis=1).tolist()]

    return predict, {}


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("side", choices=KNOWN)
    parser.add_argument("--set", choices=tasks.SETS, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--budget", default="")
    parser.add_argument("--data", type=Path, default=tasks.DATA)
    parser.add_argument("--rows", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    return parser.parse_args()


if __name__ == "__main__":
    main()
