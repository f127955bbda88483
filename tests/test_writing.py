"""Tasks whose answer is a text: which columns are for them, chats, metrics under resampling, the floor that copies."""

from __future__ import annotations

import importlib.util
import json
import logging
import sys

import numpy as np
import pytest
from rouge_score.rouge_scorer import RougeScorer
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF
from typer.testing import CliRunner

from cutler import api, data, evaluate, metrics, profile, registry, tasks, testing
from cutler.cli import app
from cutler.data import chats
from cutler.errors import DataError, MissingPackage, UsageError
from cutler.families.majority import Majority
from cutler.metrics import texts
from cutler.models.copied import WHOLE, Copied
from cutler.types import Answer, Candidate, Constraints, Fold, Table

ENGLISH = [f"A dog of {place} runs over the green field and looks for the ball that the boy has thrown {n} times."
           for n in range(20) for place in ("Paris", "London", "Rome")]  # fmt: skip
GERMAN = [f"Ein Hund aus {place} läuft über das grüne Feld und sucht den Ball, den der Junge {n} Mal geworfen hat."
          for n in range(20) for place in ("Paris", "London", "Rom")]  # fmt: skip
SHORT = [f"A dog runs for the ball of game {n}." for n in range(60)]


def table(**columns) -> Table:
    rows = zip(*columns.values(), strict=True)
    return Table("t.csv", {"train": [dict(zip(columns, cells, strict=True)) for cells in rows]})


CLEAR = {
    "two languages": (table(source=ENGLISH, target=GERMAN), "translation", ["source", "target"]),
    "their codes": (table(en=ENGLISH, de=GERMAN), "translation", ["en", "de"]),
    "by name": (table(text=ENGLISH, translation=GERMAN), "translation", ["text", "translation"]),
    "shorter": (table(source=[text * 3 for text in ENGLISH], target=SHORT), "summarization", ["source", "target"]),
    "a summary": (table(article=ENGLISH, summary=SHORT), "summarization", ["article", "summary"]),
    "a prompt": (table(prompt=SHORT, completion=ENGLISH), "text_generation", ["prompt", "completion"]),
    "beside a kind": (table(prompt=SHORT, completion=ENGLISH, kind=["x", "y", "z"] * 20), "text_generation",
                      ["prompt", "completion"]),
    "a label beside it": (table(text=ENGLISH, summary=SHORT, label=["x", "y", "z"] * 20), "text_classification",
                          ["text", "label"]),
}  # fmt: skip


@pytest.mark.parametrize(("found", "name", "columns"), CLEAR.values(), ids=CLEAR)
def test_columns_tell_what_is_to_be_written(found, name, columns):
    task = tasks.choose(found)
    assert (task.name, list(task.columns.values())) == (name, columns)


def test_columns_of_either_task_are_asked_about_and_can_be_named():
    doubtful = table(source=ENGLISH, target=[text.upper().lower() for text in ENGLISH])
    with pytest.raises(UsageError, match="--task summarization"):
        tasks.choose(doubtful)
    for name in ("translation", "summarization"):
        assert tasks.choose(doubtful, name=name).name == name


def test_a_column_that_the_user_names_serves_under_any_name():
    found = table(mine=ENGLISH, yours=GERMAN)
    task = tasks.choose(found, columns={"source": "mine", "target": "yours"}, name="translation")
    assert task.columns == {"source": "mine", "target": "yours"}


def test_a_source_without_a_target_is_refused_by_name():
    with pytest.raises(UsageError, match="a column for the target of translation"):
        tasks.choose(table(source=ENGLISH, number=list(range(60))), name="translation")


def test_rows_without_a_text_to_write_are_set_aside():
    found = table(source=ENGLISH, target=[*GERMAN[:50], *[" "] * 5, *[None] * 5])
    splits = data.split(found, tasks.choose(found, name="translation"))
    assert [row.reason for row in splits.set_aside] == ["no text to write"] * 10
    with pytest.raises(DataError, match="no text to write"):
        data.split(table(source=ENGLISH, target=[""] * 60), registry.task("translation")())


# several right texts

def test_references_join_the_target_and_the_first_is_what_is_learned():
    task = registry.task("translation")()
    rows, _ = data.labelled([{"source": "x", "target": "a", "references": ["a", "b"]}, {"source": "y", "target": "c"}],
                            task, part="test")  # fmt: skip
    assert task.targets(rows) == [("a", "b"), "c"]
    assert task.verbalise(rows[0]) == ("x", "a")
    assert task.verbalise({"source": "x"}) == ("x", "")


# chats

HELLO = [{"role": "system", "content": "be brief"}, {"role": "user", "content": "hello"}]
ANSWERED = [*HELLO, {"role": "assistant", "content": "hi"}]


def test_a_chat_is_a_prompt_that_reads_back_as_its_messages():
    assert chats.as_prompt(HELLO[1:]) == "hello"
    assert chats.messages_in(chats.as_prompt(ANSWERED)) == HELLO
    assert chats.as_text(chats.as_prompt(HELLO)) == "system: be brief\nuser: hello"
    assert chats.messages_in("hello") == HELLO[1:]


def test_what_the_assistant_says_last_is_the_completion():
    found = Table("t", {"train": [{"messages": ANSWERED}] * 10})
    task = tasks.choose(found)
    assert (task.name, task.columns) == ("text_generation", {"prompt": "messages", "completion": "messages"})
    (row, *_), aside = data.labelled(found.parts["train"], task, part="train")
    assert not aside
    assert (chats.messages_in(row["prompt"]), row["completion"]) == (HELLO, "hi")


WRONG = {
    "an unknown role": ([{"role": "bot", "content": "x"}, *ANSWERED], "role 'bot'"),
    "no answer": (HELLO, "no text to write"),
    "no question": ([{"role": "assistant", "content": "x"}], "without a message of the user"),
    "no content": ([{"role": "user", "content": None}, *ANSWERED[-1:]], "NoneType for the text"),
    "an answer without content": ([*HELLO, {"role": "assistant", "content": None}], "NoneType for the text"),
    "parts": ([{"role": "user", "content": [{"type": "text", "text": "x"}]}, *ANSWERED[-1:]], "list for the text"),
    "no messages": ([1, 2], "no messages"),
}


@pytest.mark.parametrize(("chat", "reason"), WRONG.values(), ids=WRONG)
def test_chats_that_cannot_be_used_say_why(chat, reason):
    task = registry.task("text_generation")({"prompt": "messages", "completion": "messages"})
    used, (aside,) = data.labelled([{"messages": chat}], task, part="train")
    assert not used
    assert reason in aside.reason


# metrics

RIGHT = ["the cat sat on the mat today", ("a dog ran over the big field", "one dog ran across the field"),
         "the bird sings in the old tree every morning"]  # fmt: skip
SAID = ["the cat sat on a mat today", "one dog ran over the field", "a bird sang in the old tree every day"]
STREAMS = [["the cat sat on the mat today", "a dog ran over the big field", RIGHT[2]],
           [None, "one dog ran across the field", None]]  # fmt: skip


@pytest.mark.parametrize(("name", "metric"), [("bleu", BLEU()), ("chrf", CHRF())])
def test_weights_count_rows_as_the_library_would_count_them_repeated(name, metric):
    once = texts.resampled(name, RIGHT, SAID, np.ones((1, 3)))
    assert once[0] == pytest.approx(metric.corpus_score(SAID, STREAMS).score / 100, abs=1e-12)
    weights = np.array([[2, 0, 3], [0, 1, 1]])
    for row, found in zip(weights, texts.resampled(name, RIGHT, SAID, weights), strict=True):
        places = np.repeat(np.arange(3), row)
        again = metric.corpus_score([SAID[i] for i in places], [[stream[i] for i in places] for stream in STREAMS])
        assert found == pytest.approx(again.score / 100, abs=1e-12)


@pytest.mark.parametrize("name", texts.ROUGE)
def test_rouge_is_that_of_the_library_and_of_the_best_reference(name):
    scorer = RougeScorer([texts.ROUGE[name]])
    wanted = [max(scorer.score(text, said)[texts.ROUGE[name]].fmeasure for text in texts.all_right(right))
              for right, said in zip(RIGHT, SAID, strict=True)]  # fmt: skip
    assert texts.by_row(name, RIGHT, SAID) == pytest.approx(wanted)


def test_rouge_sees_letters_of_every_script():
    right, said = ["вчера была гроза", "我爱北京"], ["вчера была", "我爱"]
    assert texts.by_row("rouge_1", right, said) == pytest.approx([0.8, 2 / 3])


def test_measuring_logs_nothing_of_its_own(caplog):
    with caplog.at_level(logging.WARNING):
        texts.resampled("bleu", ["a b c ."] * 120, ["a b c ."] * 120, np.ones((1, 120)))
    assert not caplog.records


def test_a_metric_of_another_task_is_refused():
    with pytest.raises(UsageError, match="a metric out of bleu, chrf"):
        registry.task("translation")().resampled(RIGHT, SAID, np.ones((1, 3)), metric="accuracy")


def test_short_completions_are_judged_by_rouge():
    kind = registry.task("text_generation")
    assert kind.usual_metric(["yes", "no", "maybe so"]) == "rouge_l"
    assert kind.usual_metric(ENGLISH) == "bleu"


# the floor, the evidence, the profile

def test_the_floor_writes_what_validation_likes_best():
    task, family = registry.task("summarization")(), Majority()
    rows = [{"source": f"{text} And so on, and so on.", "target": text} for text in ENGLISH]
    model = family.fit(Candidate("majority"), task, Fold(rows[:40], rows[40:]), state=None, until=1,
                       monitor=lambda *_: None, seed=0)  # fmt: skip
    assert (model.sentences, model.text) == (1, "")
    same = [{"source": text, "target": "always this"} for text in ENGLISH]
    model = family.fit(Candidate("majority"), task, Fold(same[:40], same[40:]), state=None, until=1,
                       monitor=lambda *_: None, seed=0)  # fmt: skip
    assert model.predict(["whatever"])[0].value == "always this"


def test_sentences_are_copied_in_any_script():
    first = Copied(Candidate("majority"), ("source",), sentences=1)
    assert [answer.value for answer in first.predict(["One. Two!", "我爱北京。你呢？", "no end", ""])] == [
        "One.", "我爱北京。", "no end", ""]  # fmt: skip
    assert Copied(Candidate("majority"), ("source",), sentences=WHOLE).predict([" a. b. "])[0].value == "a. b."


class Fixed(Copied):
    """Answers what it was told, in order."""

    def __init__(self, said):
        super().__init__(Candidate("fixed"), ("source",))
        self.said = said

    def answers(self, rows):
        return [Answer(text) for text in self.said]


def test_the_evidence_of_texts_shows_the_worst_answers_beside_what_is_right():
    task = registry.task("translation")()
    rows = [{"source": "x", "target": target} for target in RIGHT]
    found = evaluate.on_test(Fixed([RIGHT[0], "one dog ran across the fields", "?"]), task, rows, floors={},
                             examples=True, seed=0)  # fmt: skip
    assert [error["row"] for error in found.errors] == [3, 2]
    assert found.errors[1]["truth"] == "a dog ran over the big field ‖ one dog ran across the field"
    assert found.labels == ()
    assert found.metrics["bleu"].low <= found.metrics["bleu"].value <= found.metrics["bleu"].high
    assert set(found.metrics) == {"bleu", "chrf"}


class Expecting(Fixed):
    """Finds every token as likely as one of four."""

    def surprise(self, rows, wanted):
        tokens = np.array([len(text.split()) + 1 for text in wanted])
        return tokens * np.log(4), tokens


def test_a_model_that_writes_is_asked_how_likely_the_right_texts_are():
    task = registry.task("translation")()
    rows = [{"source": "x", "target": target} for target in RIGHT]
    found = evaluate.on_rows(Expecting(["?"] * len(rows)), task, rows, 0)
    assert list(found) == ["bleu", "chrf", "perplexity"]
    assert [found["perplexity"].low, found["perplexity"].value, found["perplexity"].high] == pytest.approx([4, 4, 4])
    assert "perplexity" not in evaluate.on_rows(Fixed(["?"] * len(rows)), task, rows, 0)


def test_the_profile_tells_how_long_the_texts_to_write_are():
    task = registry.task("translation")()
    facts = testing.facts(task, testing.fold("translation"))
    words = [len(row["target"].split()) for row in testing.fold("translation").train]
    assert facts.target_words.mean == pytest.approx(np.mean(words))
    assert facts.classes == {}
    assert profile.language(GERMAN) == "de"


def test_the_same_prompt_with_another_completion_is_no_duplicate():
    rows = [{"prompt": ENGLISH[n % 20], "completion": GERMAN[n % 40]} for n in range(60)]
    splits = data.split(Table("t", {"train": rows, "validation": rows[:9], "test": rows[:9]}),
                        registry.task("text_generation")())  # fmt: skip
    assert splits.duplicates == 20
    assert splits.conflicts == []
    assert metrics.larger_is_better("bleu")


# from end to end

def test_a_bundle_of_chats_answers_chats_and_texts(tmp_path):
    told = [{"messages": [{"role": "user", "content": text}, {"role": "assistant", "content": "it is known that so"}]}
            for text in ENGLISH[:50]] + [{"messages": ANSWERED}] * 10  # fmt: skip
    found = api.fit(told, families=("majority",), constraints=Constraints("20s"), out=tmp_path / "a.cutler", threads=1)
    assert found.task.name == "text_generation"
    said = found.predict(["hello", {"messages": HELLO}, {"prompt": ANSWERED}, HELLO])
    assert [answer.value for answer in said] == ["it is known that so"] * 4
    with pytest.raises(UsageError, match="role 'bot'"):
        found.predict([{"messages": [{"role": "bot", "content": "x"}]}])
    with pytest.raises(UsageError, match="NoneType for the text"):
        found.predict(['[{"role": "user", "content": null}]'])
    assert found.evaluate(told)["metrics"]["bleu"]["value"] > 0.5
    (tmp_path / "new.jsonl").write_text("".join(json.dumps({"messages": HELLO}) + "\n" for _ in range(3)))
    (tmp_path / "new.txt").write_text("hello\nand again\n")
    for name, count in (("new.jsonl", 3), ("new.txt", 2)):
        ran = CliRunner().invoke(app, ["predict", str(found.folder), str(tmp_path / name)])
        assert ran.exit_code == 0, ran.output
        assert [json.loads(line)["answer"] for line in ran.stdout.splitlines()] == ["it is known that so"] * count


def test_the_card_speaks_of_texts_and_not_of_probabilities(tmp_path):
    rows = testing.rows("translation", 40)
    found = api.fit(rows, task="translation", families=("majority",), constraints=Constraints("20s"),
                    out=tmp_path / "a.cutler", threads=1)  # fmt: skip
    page = (found.folder / "card.html").read_text("utf-8")
    assert "it answers without probabilities" in page
    assert "furthest from the truth" in page
    assert any("copies, or writes the same" in finding["message"] for finding in found.card["findings"])


def test_what_is_not_installed_is_named_with_the_extra_before_anything_is_spent(monkeypatch):
    there = importlib.util.find_spec
    for package, what in (("sacrebleu", "measure"), ("ctranslate2", "write")):
        with monkeypatch.context() as here:
            here.setattr(importlib.util, "find_spec",
                         lambda name, *_, gone=package: None if name == gone else there(name))  # fmt: skip
            here.setitem(sys.modules, package, None)
            with pytest.raises(MissingPackage, match=rf"{package} to {what} texts.*cutler\[text\]"):
                api.dry_run(testing.rows("translation", 40), task="translation", families=("encoder_decoder",))
