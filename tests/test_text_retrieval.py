"""Finding documents: corpora as they are laid out, rankings and how good they are, what finds, and the whole job."""

from __future__ import annotations

import json
import logging
import subprocess
import sys

import numpy as np
import pytest
from sklearn.metrics import ndcg_score
from typer.testing import CliRunner

import cutler
from cutler import bundle, catalog, data, going_on, profile, registry, tasks, testing
from cutler.cli import app
from cutler.data import corpora
from cutler.errors import DataError, MissingPackage, UsageError
from cutler.families import _contrast, _vectors, bm25
from cutler.metrics import ranking
from cutler.models.ensemble import member_folder
from cutler.models.finder import Documents, nearest
from cutler.models.fused import Fused, scaled
from cutler.models.lexical import Lexical, terms
from cutler.search import combining
from cutler.search.planning import Planner
from cutler.types import Answer, Beside, Candidate, Constraints, Fold, Pace, Splits, Table

TASK = registry.task("text_retrieval")()
FOLD = testing.fold("text_retrieval")
CORPUS = [{"id": "a", "text": "the red house"}, {"id": "b", "text": "a blue boat"}, {"id": "c", "text": "green hills"}]
QUERIES = [{"id": "1", "text": "house"}, {"id": "2", "text": "boat"}, {"id": "3", "text": "hills"}]
QRELS = [{"query": "1", "doc": "a", "relevance": 2}, {"query": "1", "doc": "b", "relevance": 1},
         {"query": "2", "doc": "b", "relevance": 1}]  # fmt: skip


def put(folder, *, corpus=CORPUS, queries=QUERIES, qrels=QRELS):
    folder.mkdir(parents=True, exist_ok=True)
    for name, rows in (("corpus", corpus), ("queries", queries), ("qrels", qrels)):
        if rows is not None:
            (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return folder


# --- corpora


def test_a_folder_of_corpus_queries_and_judgements_becomes_rows_with_documents_beside_them(tmp_path):
    table = data.read(put(tmp_path / "set"))
    assert table.beside.corpus == {row["id"]: row["text"] for row in CORPUS}
    assert table.parts["train"][0] == {"id": "1", "query": "house", "relevant": [["a", 2], ["b", 1]]}
    assert tasks.choose(table).name == "text_retrieval"


def test_a_query_without_judgements_is_set_aside_with_its_reason(tmp_path):
    found, aside = data.labelled(data.read(put(tmp_path / "set")).parts["train"], TASK, part="train")
    assert [row["query"] for row in found] == ["house", "boat"]
    assert [(each.number, each.reason) for each in aside] == [(3, "no document judged relevant")]


def test_a_folder_laid_out_as_beir_keeps_its_parts_and_puts_titles_first(tmp_path):
    corpus = [{"_id": row["id"], "title": "On", "text": row["text"]} for row in CORPUS]
    queries = [{"_id": query["id"], "text": query["text"]} for query in QUERIES]
    folder = put(tmp_path / "set", corpus=corpus, queries=queries, qrels=None)
    (folder / "qrels").mkdir()
    for part, line in (("train", "1\ta\t1"), ("dev", "2\tb\t1"), ("test", "3\tc\t1")):
        (folder / "qrels" / f"{part}.tsv").write_text(f"query-id\tcorpus-id\tscore\n{line}\n", encoding="utf-8")
    table = data.read(folder)
    assert {part: [row["query"] for row in rows] for part, rows in table.parts.items()} == {
        "train": ["house"], "validation": ["boat"], "test": ["hills"]}  # fmt: skip
    assert table.beside.corpus["a"] == "On the red house"


def test_a_lone_file_of_judgements_is_of_train_whatever_its_name(tmp_path):
    folder = put(tmp_path / "set", qrels=None)
    (folder / "qrels").mkdir()
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\n1\ta\t1\n", encoding="utf-8")
    assert [row["query"] for row in data.read(folder).parts["train"]][0] == "house"


def test_the_three_may_be_given_in_memory():
    table = data.read({"corpus": CORPUS, "queries": QUERIES, "qrels": QRELS})
    assert len(table.beside.corpus) == 3
    assert set(table.parts) == {"train"}


WRONG = {
    "no queries": ({"queries": None}, "without queries"),
    "no judgements": ({"qrels": None}, "without qrels"),
    "one document": ({"corpus": CORPUS[:1]}, "at least two documents"),
    "empty documents": ({"corpus": [CORPUS[0], {"id": "b", "text": " "}]}, "at least two documents"),
    "an id for two texts": ({"corpus": [*CORPUS, {"id": "a", "text": "another"}]}, "'a' again in row 4"),
    "a document without id": ({"corpus": [*CORPUS, {"id": None, "text": "another"}]}, "none in row 4"),
    "documents without ids": ({"corpus": [{"text": "one"}, {"text": "two"}]}, "the columns text"),
    "judgements of other documents": ({"qrels": [{"query": "1", "doc": "z", "relevance": 1}]}, "'z'"),
    "judgements of other queries": ({"qrels": [{"query": "9", "doc": "a", "relevance": 1}]}, "'9'"),
    "judgements without documents": ({"qrels": [{"query": "1", "relevance": 1}]}, "a document's id under doc"),
}


@pytest.mark.parametrize(("given", "said"), WRONG.values(), ids=WRONG)
def test_what_does_not_fit_together_is_refused_before_anything_is_spent(given, said, tmp_path):
    with pytest.raises(DataError, match=said):
        data.read(put(tmp_path / "set", **given))


def test_judgements_of_unknown_documents_and_empty_documents_are_left_out_and_logged(tmp_path, caplog):
    corpus, qrels = [*CORPUS, {"id": "e", "text": ""}], [*QRELS, {"query": "2", "doc": "e", "relevance": 1}]
    with caplog.at_level(logging.WARNING):
        table = data.read(put(tmp_path / "set", corpus=corpus, qrels=qrels))
    assert "e" not in table.beside.corpus
    assert table.parts["train"][1]["relevant"] == [["b", 1]]
    assert "such as 'e'" in caplog.text


def pairs(n=24):
    return [{"question": f"where is {word} {n}", "passage": f"the {word} {n} is here"} for n in range(n // 3)
            for word in ("parcel", "invoice", "password")]  # fmt: skip


def test_pairs_of_a_query_and_a_document_are_a_corpus_and_judgements():
    table = Table("pairs", {"train": [*pairs(), {"question": "where is parcel 0", "passage": "or there"}]})
    task = tasks.choose(table)
    assert (task.name, task.columns) == ("text_retrieval", {"query": "question", "relevant": "passage"})
    splits = data.split(table, task)
    rows = [*splits.train, *splits.validation, *splits.test]
    assert len(rows) == 24
    assert sorted(splits.beside.corpus.values()) == sorted({row["passage"] for row in pairs()} | {"or there"})
    (twice,) = [row for row in rows if row["query"] == "where is parcel 0"]
    assert {splits.beside.corpus[doc] for doc, _ in twice["relevant"]} == {"the parcel 0 is here", "or there"}


def test_a_pair_that_bears_a_label_is_another_task():
    rows = [{"query": "q", "passage": "p", "label": "yes"}, {"query": "r", "passage": "s", "label": "no"}]
    assert registry.task("text_retrieval").recognises(rows) is None


def test_the_document_of_a_pair_reads_as_the_judgement_that_training_made_of_it():
    assert TASK.parse_target(" the parcel is here ") == ((corpora.id_of("the parcel is here"), 1.0),)
    assert TASK.parse_target('[["a", 1], ["b", 3], ["c", 0]]') == (("b", 3.0), ("a", 1.0))
    assert TASK.parse_target({"a": 2}) == (("a", 2.0),)
    with pytest.raises(ValueError, match="no document"):
        TASK.parse_target([["a", 0]])


def test_the_profile_tells_of_documents():
    found = testing.facts(TASK, FOLD)
    assert found.n_documents == 12
    assert found.documents.max >= found.documents.p50 > 3


# --- rankings


def test_graded_gain_equals_scikit_learn_on_whole_rankings():
    random = np.random.default_rng(3)
    for _ in range(20):
        relevance = random.integers(0, 4, 12) + np.eye(12, dtype=int)[0]
        scores = random.permutation(12).astype(float)
        relevant = {str(n): float(r) for n, r in enumerate(relevance) if r}
        found = [str(n) for n in np.argsort(-scores)]
        assert ranking.ndcg(relevant, found) == pytest.approx(ndcg_score([relevance], [scores], k=10))


def test_rankings_by_hand():
    relevant, found = {"a": 1.0, "b": 1.0, "z": 1.0}, ["x", "a", *"cdefghij", "b"]
    ideal = 1 + 1 / np.log2(3) + 1 / 2
    assert ranking.ndcg(relevant, found) == pytest.approx(1 / np.log2(3) / ideal)
    assert ranking.recall(relevant, found, at=10) == pytest.approx(1 / 3)
    assert ranking.recall(relevant, found, at=100) == pytest.approx(2 / 3)
    assert ranking.reciprocal_rank(relevant, found) == 0.5
    assert ranking.reciprocal_rank({"b": 1.0}, found) == 0.0
    assert ranking.ndcg(relevant, []) == 0.0


def test_a_metric_of_draws_is_the_mean_over_the_queries_drawn():
    targets, answers = [(("a", 1.0),), (("b", 1.0),)], [("a",), ("x", "b")]
    weights = np.array([[2, 0], [0, 2], [1, 1]])
    assert TASK.resampled(targets, answers, weights, metric="mrr_at_10").tolist() == [1.0, 0.5, 0.75]
    assert TASK.score(targets, [Answer(each) for each in answers]) == TASK.score(targets, answers)
    with pytest.raises(UsageError, match="ndcg_at_10"):
        TASK.resampled(targets, answers, weights, metric="ndcg")


def test_the_nearest_come_first_and_equals_in_their_order():
    similar = np.array([0.0, 0.5, 0.9, 0.5, 0.0, 0.5])
    assert nearest(similar, 3).tolist() == [2, 1, 3]
    assert nearest(similar, 9, above=0.0).tolist() == [2, 1, 3, 5]


# --- what finds


def fitted(family, folder, *, checkpoints=(), fold=FOLD, until=4, choose=0, **changed):
    maker = registry.family(family)
    candidate = maker.propose(TASK, testing.facts(TASK, fold), checkpoints)[choose].having(changed)
    return maker.fit(candidate, TASK, fold, state=folder / "a" / candidate.key, until=until,
                     monitor=lambda *_: None, seed=0)  # fmt: skip


def test_words_of_every_script_are_counted():
    assert terms("Die Häuser, DIE häuser_2!", 0) == ["die", "häuser", "die", "häuser", "2"]
    assert terms("houses housing", 5) == ["house", "housi"]
    assert terms("我爱 ok", 0) == ["我", "爱", "ok"]
    assert terms("the house", 0, left_out=("the",)) == ["house"]


def test_bm25_weighs_as_its_formula_says():
    words = [["a", "b", "a"], ["b"], ["c", "c", "c", "c"]]
    documents = Documents(("1", "2", "3"), ("", "", ""))
    model = bm25._Counted(words, letters=0, left_out=()).model(Candidate("bm25"), TASK, documents, 1.5, 0.75)
    rarity = np.log(1 + (3 - 1 + 0.5) / (1 + 0.5))
    wanted = rarity * 2 / (2 + 1.5 * (1 - 0.75 + 0.75 * 3 / (8 / 3)))
    assert model.similarities(["a"])[0] == pytest.approx([wanted, 0, 0], rel=1e-5)
    assert model.similarities(["a a"])[0] == pytest.approx([2 * wanted, 0, 0], rel=1e-5)


def test_a_query_without_a_known_word_finds_nothing(tmp_path):
    model = fitted("bm25", tmp_path)
    assert model.predict([{"query": "xyzzy"}, {"query": ""}]) == [Answer(()), Answer(())]


def test_bm25_keeps_the_way_of_counting_that_training_queries_speak_for(tmp_path):
    plural = {str(n): f"{word}s are here" for n, word in enumerate(("parcel", "invoice", "account", "courier"))}
    rows = [{"query": text.split("s ")[0] + "ing", "relevant": ((name, 1.0),)} for name, text in plural.items()]
    model = fitted("bm25", tmp_path, fold=Fold(rows * 4, rows, beside=Beside(plural)))
    assert model.candidate["letters"] in (5, 6)
    assert TASK.score(TASK.targets(rows), model.predict(rows)) == 1.0


def test_documents_without_words_are_not_found_but_do_no_harm(tmp_path):
    rows = [{"query": "house", "relevant": (("a", 1.0),)}] * 4
    model = fitted("bm25", tmp_path, fold=Fold(rows, rows, beside=Beside({"a": "!!!", "b": "..."})))
    assert model.predict(["house"])[0].value == ()


def test_bm25_names_the_extra_to_install(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "bm25s", None)
    with pytest.raises(MissingPackage, match=r"cutler\[retrieval\]"):
        fitted("bm25", tmp_path)


def test_documents_are_cut_where_nearly_all_fit_or_at_their_beginnings(checkpoint):
    found, facts = catalog.find(checkpoint), testing.facts(TASK, FOLD)
    assert _vectors.token_limits(found, facts) == [32]
    long = Splits(FOLD.train, FOLD.validation, FOLD.validation, beside=Beside({"a": "word " * 900, "b": "more " * 900}))
    much = profile.describe(long, TASK)
    assert _vectors.token_limits(catalog.find(checkpoint), much) == [128]  # of which this one reads no more


def test_whitened_vectors_are_centred_and_nearly_even():
    draw = np.random.default_rng(0)
    vectors = draw.normal(size=(500, 8)) * np.arange(1, 9) + 3
    spread = np.cov(_vectors.whitening_map(vectors)(vectors).T)
    assert np.abs(_vectors.whitening_map(vectors)(vectors).mean(axis=0)).max() < 1e-3
    assert np.diag(spread).max() / np.diag(spread).min() < 12 < np.cov(vectors.T).diagonal().max()


def test_learning_to_read_queries_brings_them_nearer_to_their_documents(checkpoint, tmp_path):
    before = fitted("frozen", tmp_path / "before", checkpoints=[checkpoint])
    after = fitted("encoder", tmp_path / "after", checkpoints=[checkpoint], until=120, learning_rate=2e-3)
    reached = [TASK.score(TASK.targets(FOLD.train), model.predict(FOLD.train)) for model in (before, after)]
    assert reached[1] > reached[0] + 0.1
    assert np.abs(before.vectors - after.vectors).max() < 2e-3  # documents stay where the checkpoint put them


def test_other_relevant_documents_are_no_negatives(checkpoint, tmp_path):
    course = _contrast.Contrast(
        registry.family("encoder").propose(TASK, testing.facts(TASK, FOLD), [checkpoint])[0], TASK, FOLD, tmp_path, 0
    )
    places, every = np.arange(4), {place: 1.0 for place in range(12)}
    loss = course.loss(places).item()
    course.relevant = [every] * len(course.relevant)
    course._hold_against(np.arange(12))
    assert course.loss(places).item() < 1e-6 < loss  # nothing is wrong, so nothing is lost


def test_sentences_of_documents_ask_for_these():
    corpus = ["One two three four five. Six seven eight nine ten.", "short. words."]
    found = _contrast.own_sentences(corpus, seed=0)
    assert [place for _, place in found] == [0]
    assert found[0][0] in corpus[0]
    assert found == _contrast.own_sentences(corpus, seed=0)


def test_of_a_large_corpus_judged_and_hard_documents_are_among_those_compared(checkpoint, tmp_path, monkeypatch):
    monkeypatch.setattr(_contrast, "MOST_NEGATIVES", 3)
    monkeypatch.setattr(_contrast, "HARD", 1)
    few = Fold(FOLD.train[:2], FOLD.validation, beside=FOLD.beside)
    candidate = registry.family("encoder").propose(TASK, testing.facts(TASK, few), [checkpoint])[0]
    course = _contrast.Contrast(candidate, TASK, few, tmp_path, 0)
    judged = {course.ids.index(doc) for row in few.train for doc, _ in row["relevant"]}
    compared = course._compared()
    assert judged <= set(compared.tolist())
    assert len(compared) < 12
    assert np.isfinite(course.loss(np.arange(2)).item())


def lexical(weights):
    """Three documents, of which each query's word weighs so much."""
    vocabulary = {word: number for number, word in enumerate(weights)}
    return Lexical(
        Candidate(f"told {len(weights)}"), ("query",), Documents(("a", "b", "c"), ("A", "B", "C")),
        vocabulary=vocabulary, weights=np.float32([w for each in weights.values() for w in each]),
        places=np.tile(np.arange(3, dtype=np.int32), len(weights)), starts=np.arange(len(weights) + 1) * 3, letters=0,
        left_out=(),
    )  # fmt: skip


def test_similarities_are_brought_to_one_scale_before_they_are_added():
    assert scaled(np.array([[2.0, 4.0, 3.0], [5.0, 5.0, 5.0]])).tolist() == [[0.0, 1.0, 0.5], [0.0, 0.0, 0.0]]
    one, other = lexical({"x": (100, 0, 60)}), lexical({"x": (0.1, 0.3, 0.28)})
    fused = Fused(Candidate("fusion"), ("query",), finders=[one, other], weights=np.array([0.5, 0.5]))
    assert fused.predict(["x"])[0].value == ("c", "a", "b")


def test_fusion_finds_more_than_either_and_is_judged_on_queries_its_weight_did_not_see():
    words = {f"w{n}": (10, 9, 0) for n in range(10)} | {f"v{n}": (0, 9, 10) for n in range(10)}
    rows = [{"query": word, "relevant": (("b", 1.0),)} for word in words]
    one, other = lexical(words), lexical({word: tuple(reversed(each)) for word, each in words.items()})
    members = {Candidate("bm25"): one, Candidate("frozen", "x"): other}
    combiner = registry.combiner("fusion")
    told = {candidate: [a.value for a in model.predict(rows)] for candidate, model in members.items()}
    (candidate,) = combiner.propose(TASK, rows, (), told)
    fused, judged = combiner.combine(candidate, TASK, rows, list(members.values()), list(told.values()))
    targets = TASK.targets(rows)
    assert max(TASK.score(targets, each) for each in told.values()) < TASK.score(targets, judged) == 1.0
    assert fused.weights.tolist() == [0.5, 0.5]
    assert combiner.propose(TASK, rows[:5], (), told) == []


def test_work_on_documents_is_paid_once_by_those_that_share_it():
    facts, clock = testing.facts(TASK, FOLD), cutler.search.clock.Clock(1000)
    planner = Planner(TASK, FOLD, facts, Constraints(1000), families=["bm25"], checkpoints=(), seed=0, threads=1,
                      clock=clock)  # fmt: skip
    slow = registry.family("encoder")
    paces = Pace(fixed_s=5, step_s=0.1, shares="documents", shared_s=300)
    planner.feasible = [(slow, Candidate("encoder", "x"))]
    planner._paced = lambda given: [(candidate, paces) for _, candidate in given]
    assert planner._climbers(light=False)[0][1].fixed_s == 305
    planner.shared.add("documents")
    assert planner._climbers(light=False)[0][1].fixed_s == 5


# --- the whole job


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    rows = list({row["query"]: row for row in testing.rows("text_retrieval", 120)}.values())
    return put(
        tmp_path_factory.mktemp("source") / "set",
        corpus=[{"id": name, "text": text} for name, text in testing.documents().items()],
        queries=[{"id": str(n), "text": row["query"]} for n, row in enumerate(rows)],
        qrels=[{"query": str(n), "doc": doc, "relevance": rel} for n, row in enumerate(rows)
               for doc, rel in row["relevant"]],
    )  # fmt: skip


@pytest.fixture(scope="module")
def found(source, checkpoint, tmp_path_factory):
    return cutler.fit(
        source, constraints=Constraints("60s", tolerance=0.0), checkpoints=(checkpoint,), threads=1,
        families=("bm25", "frozen"), out=tmp_path_factory.mktemp("found") / "model.cutler",
    )  # fmt: skip


def test_the_card_tells_what_was_tried_against_the_floor_and_what_was_missed(found):
    names = [trial["name"].split(" ")[0] for trial in found.card["trials"]]
    assert names == ["bm25", "frozen", "fusion"]
    assert all(trial["status"] == "complete" for trial in found.card["trials"])
    assert list(found.card["test"]["floor"])[0].startswith("bm25")
    assert set(found.card["test"]["metrics"]) == set(TASK.metrics)
    (first, *_) = found.card["test"]["errors"]
    assert first["answer"][0].split(" (")[0] in testing.documents()
    assert "nDCG@10" in (found.folder / "card.md").read_text("utf-8")


def test_the_command_line_prints_the_nearest_documents_with_their_texts(found, source):
    done = CliRunner().invoke(app, ["predict", str(found.folder), str(source / "queries.jsonl"), "--top", "2"])
    first = json.loads(done.output.splitlines()[0])
    assert first["answer"] == [name for name, _, _ in first["top"]]
    assert len(first["top"]) == 2
    assert [text for _, _, text in first["top"]] == [testing.documents()[name] for name in first["answer"]]


def test_a_bundle_is_evaluated_on_judged_queries(found, source):
    measured = found.evaluate(source)
    assert measured["metrics"]["recall_at_100"]["value"] > 0.9
    assert measured["set_aside"] == 0


def test_a_bundle_finds_without_torch(found):
    asked = f"import cutler; print(cutler.load({str(found.folder)!r}).predict(['refund the payment'])[0].value[0])"
    code = f"import sys\nfor name in ('torch', 'transformers', 'bm25s'): sys.modules[name] = None\n{asked}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == found.predict(["refund the payment"])[0].value[0], done.stderr


def test_without_examples_ids_are_found_and_no_text_is_kept(source, tmp_path):
    bare = cutler.fit(source, constraints=Constraints("20s"), threads=1, families=("bm25",), examples=False,
                      out=tmp_path / "model.cutler")  # fmt: skip
    files = [path for path in bare.folder.rglob("*") if path.is_file() and path.suffix != ".safetensors"]
    kept = "".join(path.read_text("utf-8") for path in files)
    assert "the parcel never arrived" not in kept
    (nearest_one,) = bare.found(["parcel never arrived"], 1)[0]
    assert nearest_one[0] == "delivery 0"
    assert nearest_one[2] is None
    with pytest.raises(UsageError, match="texts of its documents"):
        bare.fine_tune([{"query": "refund", "relevant": [["billing 2", 1]]}] * 9, out=tmp_path / "newer.cutler")


def test_going_on_learns_from_new_judgements_beside_the_documents_of_before(found, tmp_path):
    fresh = [{"query": row["query"], "relevant": [list(each) for each in row["relevant"]]}
             for row in testing.rows("text_retrieval", 40, seed=5)]  # fmt: skip
    newer = found.fine_tune(fresh, out=tmp_path / "newer.cutler", budget="60s")
    assert set(newer.found(["refund the payment"], 1)[0][0][0]) <= set("".join(testing.documents()))
    assert newer.model.documents.ids == found.model.documents.ids


def test_a_query_that_is_spelt_in_two_ways_with_other_documents_contradicts_nothing():
    rows = [{"query": f"what of {n}", "relevant": [[f"d{n}", 1.0]]} for n in range(20)]
    rows += [{"query": "What of 3?", "relevant": [["d7", 1.0]]}]
    found = data.split(Table("rows", {"train": rows}, Beside({f"d{n}": f"document {n}" for n in range(20)})), TASK)
    assert found.conflicts == []


def test_no_queries_are_kept_for_probabilities_that_nothing_finds():
    rows = [{"query": f"{n} of {n * n}", "relevant": [[f"d{n % 20}", 1.0]]} for n in range(1300)]
    found = data.split(Table("rows", {"train": rows}, Beside({f"d{n}": f"document {n}" for n in range(20)})), TASK)
    assert not found.calibration


def test_a_judgement_without_a_number_is_told():
    with pytest.raises(ValueError, match="no number for a relevance"):
        corpora.judgements_in([["d1", None]])


def test_what_an_encoder_learned_stays_with_it_in_a_fusion(tmp_path):
    finders = [lexical({"x": (1, 2, 3)}), lexical({"x": (3, 2, 1)})]
    finders[1].candidate = Candidate("encoder", "x")
    whole = Candidate("fusion", members=tuple(each.candidate for each in finders))
    fused, alone, model = Fused(whole, ("query",), finders=finders, weights=np.ones(2)), tmp_path / "a", tmp_path / "m"
    model.mkdir()
    fused.save(model)
    (alone / "reader" / "transformers").mkdir(parents=True)
    (alone / "reader" / "transformers" / "config.json").write_text("{}", encoding="utf-8")
    combining._keep_weights(alone, member_folder(model, 1))
    assert (member_folder(model, 1) / "reader" / "transformers" / "config.json").is_file()
    written = bundle.write(tmp_path / "b.cutler", task=TASK, model=model, files={}, weights=True)
    going_on._lay(written, finders[1].candidate, member_folder(written.folder / "model", 1), tmp_path)
    assert (tmp_path / finders[1].candidate.key / "start" / "transformers" / "config.json").is_file()


def test_a_query_may_be_called_text(found):
    asked = ["refund the payment", {"text": "refund the payment"}, {"text": "refund the payment", "id": "7"}]
    assert len({answer.value for answer in found.predict(asked)}) == 1
