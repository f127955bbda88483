"""A run that is killed goes on where it stood, comes to the same end, and shares its state with no other run."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time

import pytest

import cutler
from cutler import measure, registry, search, testing
from cutler.errors import OutputError, UsageError
from cutler.search import state
from cutler.search.clock import Clock
from cutler.search.journal import WHOLE, Done, Journal, Rung
from cutler.types import Candidate, Constraints, Cost, Plan, PlanItem, Trial


def rows(n, seed=0):
    return [{"text": row["text"], "label": row["label"]} for row in testing.rows("text_classification", n, seed=seed)]


ROWS, NEW = rows(150), rows(30, seed=9)
TASK = registry.task("text_classification")()
FOLD = testing.fold("text_classification", 150)
FACTS = testing.facts(TASK, FOLD)


class Killed(BaseException):
    """Ends a run as nothing that it catches does."""


def item(family, *, until=(1,), checkpoint="", stage=0, **params):
    return PlanItem(Candidate(family, checkpoint, params), len(FOLD.train), until, 1.0, stage=stage)


def plan(checkpoint):
    """Two floors, a ladder of small networks and one of encoders."""
    small = {"width": 16, "size": 8, "max_tokens": 32}
    deep = {"trained_layers": 1, "joint": False, "max_tokens": 32}
    return Plan(5, 1, 90.0, (
        item("majority"), item("linear", ngrams="word"),
        *(item("convolutional", until=(6, 14), stage=2, learning_rate=rate, **small) for rate in (3e-3, 1e-3)),
        *(item("encoder", until=(5, 15), checkpoint=checkpoint, stage=3, learning_rate=rate, **deep)
          for rate in (2e-3, 1e-3)),
    ))  # fmt: skip


def carried_out(work, folder, journal=None):
    """What comes of a plan: each trial but for what it cost, and the items."""
    limits = Constraints(work.budget_s)
    found = search.run(TASK, FOLD, FACTS, limits, work=work, folder=folder, clock=Clock(work.budget_s, 1.0),
                       progress=lambda *_: None, journal=journal)  # fmt: skip
    told = [(each.candidate, each.status, each.score, each.step, each.trained) for each in found.trials]
    return repr(told), found.plan.items


@pytest.fixture
def costless(monkeypatch):
    """Nothing is measured, which would take the most of a second for each trial."""
    monkeypatch.setattr(measure, "cost", lambda *_, train_s, **__: Cost(1.0, 1.0, 1.0, 100.0, train_s))


# --- going on


@pytest.mark.usefixtures("costless")
@pytest.mark.parametrize("moments", [(1, 6), (5, 9, 14), (7, 12, 17), (8, 11, 13)])
def test_a_search_that_dies_goes_on_to_the_same_end(moments, checkpoint, tmp_path, monkeypatch):
    work = plan(checkpoint)
    whole = carried_out(work, tmp_path / "whole")
    real = Journal._note

    def dying(journal, line):
        if len((tmp_path / "j").read_text().splitlines() if (tmp_path / "j").is_file() else ()) >= moments[deaths]:
            raise Killed
        real(journal, line)

    monkeypatch.setattr(Journal, "_note", dying)
    for deaths in range(len(moments)):  # noqa: B007 - `dying` reads it
        with pytest.raises(Killed):
            carried_out(work, tmp_path / "parts", Journal(tmp_path / "j", tmp_path / "parts"))
    monkeypatch.setattr(Journal, "_note", real)
    assert carried_out(work, tmp_path / "parts", Journal(tmp_path / "j", tmp_path / "parts")) == whole


@pytest.mark.usefixtures("costless")
def test_a_run_that_dies_in_mid_rung_goes_on_to_the_same_end(checkpoint, tmp_path, monkeypatch):
    from cutler import train  # brings torch

    work, steps = plan(checkpoint), []
    whole = carried_out(work, tmp_path / "whole")
    real = train._step

    def dying(*given):
        steps.append(None)
        if len(steps) in (4, 12, 20, 33):
            raise Killed
        return real(*given)

    monkeypatch.setattr(train, "_step", dying)
    for _ in range(4):
        with pytest.raises(Killed):
            carried_out(work, tmp_path / "parts", Journal(tmp_path / "j", tmp_path / "parts"))
    assert carried_out(work, tmp_path / "parts", Journal(tmp_path / "j", tmp_path / "parts")) == whole


@pytest.mark.usefixtures("costless")
def test_what_is_done_is_not_done_again(tmp_path, monkeypatch):
    work = Plan(5, 1, 60.0, (item("majority"), item("linear", ngrams="word")))
    carried_out(work, tmp_path, Journal(tmp_path / "j", tmp_path))
    monkeypatch.setattr(type(registry.family("linear")), "fit", lambda *_, **__: pytest.fail("fitted again"))
    journal = Journal(tmp_path / "j", tmp_path)
    assert journal.n_done == 2
    carried_out(work, tmp_path, journal)


def died(source, out, *, after, **given):
    """A run that dies when it comes to the trial of that number."""
    told = []

    def progress(stage, share):
        told.append(stage)
        if sum(each.startswith("fitting") for each in told) > after:
            raise Killed

    with pytest.raises(Killed):
        fitted(source, out, progress=progress, **given)


def fitted(source, out, *, budget=60, families=("majority", "linear"), **given):
    return cutler.fit(source, out=out, constraints=Constraints(budget), families=families, threads=1, **given)


def test_fit_goes_on_says_so_counts_the_seconds_and_leaves_nothing_behind(tmp_path, caplog):
    out = tmp_path / "m.cutler"
    died(ROWS, out, after=1)
    place = state.place_of(out)
    (place / "spent").write_text("31.4")
    found = fitted(ROWS, out)
    assert "going on with 1 of 3 trials, 31 of 60 s spent" in caplog.text
    assert [trial["status"] for trial in found.card["trials"][:3]] == ["complete"] * 3
    assert [path.name for path in tmp_path.iterdir()] == ["m.cutler"]


def test_a_stage_is_not_sized_again_by_another_measurement(tmp_path, monkeypatch):
    died(ROWS, tmp_path / "m", after=2)
    before = Journal(state.place_of(tmp_path / "m") / "journal.jsonl").planned
    monkeypatch.setattr("cutler.search.planning.Planner._floors", lambda _: pytest.fail("sized again"))
    found = fitted(ROWS, tmp_path / "m")
    planned = json.loads((found.folder / "plan.json").read_text())["items"]
    assert [PlanItem.from_json(each) for each in planned[: len(before)]] == before


# --- another run


@pytest.mark.parametrize(("what", "given"), [
    ("data", {"source": rows(150, seed=4)}), ("limits", {"budget": 50}),
    ("seed", {"seed": 8}), ("families", {"families": ("linear",)}),
])  # fmt: skip
def test_the_state_of_another_run_is_refused_and_stays_unless_it_is_to_be_discarded(what, given, tmp_path):
    died(ROWS, tmp_path / "m", after=1)
    given = {"source": ROWS, **given}
    with pytest.raises(UsageError, match=f"another .*{what}.*--fresh"):
        fitted(out=tmp_path / "m", **given)
    assert state.place_of(tmp_path / "m").is_dir()
    fitted(out=tmp_path / "m", fresh=True, **given)
    assert [path.name for path in tmp_path.iterdir()] == ["m"]


def test_the_state_of_another_version_is_refused(tmp_path):
    died(ROWS, tmp_path / "m", after=1)
    file = state.place_of(tmp_path / "m") / "run.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "version of cutler": "0.0.1"}))
    with pytest.raises(UsageError, match="another version of cutler: 0.0.1 there"):
        fitted(ROWS, tmp_path / "m")


def test_two_runs_on_one_output_are_refused_and_the_error_names_the_first(tmp_path):
    with state.held(tmp_path / "m"):
        with pytest.raises(OutputError, match=f"process {os.getpid()} on "):
            fitted(ROWS, tmp_path / "m")
        assert state.place_of(tmp_path / "m").is_dir()
    assert fitted(ROWS, tmp_path / "m").folder.is_dir()


def test_a_folder_of_the_users_at_the_place_of_the_state_is_left_alone(tmp_path):
    place = state.place_of(tmp_path / "m")
    place.mkdir()
    (place / "letters.txt").write_text("dear")
    with pytest.raises(OutputError, match="a folder with letters.txt"):
        fitted(ROWS, tmp_path / "m", fresh=True)
    assert (place / "letters.txt").read_text() == "dear"


def test_an_error_that_going_on_would_only_repeat_leaves_no_state(tmp_path):
    with pytest.raises(cutler.errors.ConstraintError):
        cutler.fit(ROWS, out=tmp_path / "m", constraints=Constraints(60, memory_mb=1), families=("majority",))
    assert not list(tmp_path.iterdir())


# --- what may happen to the files, and to the machine


def journal_of(file, *, patient=False):
    return Journal(file, file.parent / "trials", patient=patient)


def test_a_journal_that_was_cut_short_is_read_up_to_there(tmp_path, caplog):
    file, linear = tmp_path / "j", item("linear", until=(10, 20))
    journal = journal_of(file)
    journal.size(1, [linear], {"share": 0.4})
    journal.begin(linear, "0", 10)
    journal.rise(linear, 0, Rung(10, float("-inf"), 10, 0.2, fitted_s=1.0))
    journal.finish(linear, Done(Trial(linear.candidate, "complete", 0.5, folder="/some/where/abc"), 1.0, 2.0))
    whole = journal_of(file)
    assert whole.stage(1) == ([linear], {"share": 0.4})
    assert whole.rung(linear, 0) == Rung(10, float("-inf"), 10, 0.2, fitted_s=1.0)
    assert whole.done(linear).trial.folder == str(tmp_path / "trials" / "abc")
    raw = file.read_bytes()
    file.write_bytes(raw[:-25])
    short = journal_of(file)
    assert "cut short" in caplog.text
    assert short.done(linear) is None
    assert short.until(linear, 0) == 10
    assert file.read_bytes() == b"".join(raw.splitlines(keepends=True)[:3])


def test_what_the_process_died_of_three_times_is_not_tried_again(tmp_path):
    linear = item("linear", ngrams="word")
    for _ in range(3):
        assert journal_of(tmp_path / "j").deadly(linear, WHOLE) == ""
        journal_of(tmp_path / "j").begin(linear, WHOLE)
    assert "died of it 3 times" in journal_of(tmp_path / "j").deadly(linear, WHOLE)
    assert journal_of(tmp_path / "j", patient=True).deadly(linear, WHOLE) == ""


def test_a_run_that_was_interrupted_did_not_die_of_what_it_was_at(tmp_path):
    linear = item("linear", ngrams="word")
    for _ in range(3):
        journal = journal_of(tmp_path / "j")
        journal.begin(linear, WHOLE)
        journal.close()
    assert journal_of(tmp_path / "j").deadly(linear, WHOLE) == ""


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"),
                                   RuntimeError("I/O error: No space left on device (os error 28)")])  # fmt: skip
def test_a_full_disk_ends_the_run_clearly_and_it_goes_on_once_there_is_space(error, tmp_path, monkeypatch, caplog):
    def full(*_, **__):
        raise error

    with monkeypatch.context() as patched:
        patched.setattr(type(registry.family("linear")), "fit", full)
        with pytest.raises(OutputError, match="No space left.*goes on where it stood"):
            fitted(ROWS, tmp_path / "m")
    found = fitted(ROWS, tmp_path / "m")
    assert "going on with 1 of 3 trials" in caplog.text
    assert {trial["status"] for trial in found.card["trials"]} == {"complete"}


def test_ctrl_c_hands_over_what_is_complete_and_the_same_run_goes_on_from_there(tmp_path, caplog):
    told = []

    def progress(stage, share):
        told.append(stage)
        if stage.startswith("fitting") and sum(each.startswith("fitting") for each in told) == 2:
            raise KeyboardInterrupt

    first = fitted(ROWS, tmp_path / "m", progress=progress)
    assert "majority" in first.card["pick"]["name"]
    again = fitted(ROWS, tmp_path / "m")
    assert "going on with 1 of 3 trials" in caplog.text
    assert "linear" in again.card["pick"]["name"]
    assert [path.name for path in tmp_path.iterdir()] == ["m"]


def test_without_examples_no_row_lies_in_the_state(tmp_path):
    secret = "the launch of project nightingale is on the ninth of march"
    told = [{**row, "text": secret} if number == 7 else row for number, row in enumerate(ROWS)]
    died(told, tmp_path / "m", after=2, examples=False)
    files = [path for path in state.place_of(tmp_path / "m").rglob("*") if path.is_file()]
    assert any(path.name == "model.json" for path in files)
    assert not [path for path in files if secret.encode() in path.read_bytes()]


# --- kill -9


RUN = "import sys, json, cutler; cutler.fit(json.loads(open(sys.argv[1]).read()), out=sys.argv[2], plan=sys.argv[3], \
threads=1, constraints=cutler.Constraints(90))"


def ended(folder):
    """What a bundle answers, and what it was picked from."""
    card = json.loads((folder / "card.json").read_text())
    trials = [(each["name"], each["status"], each["score"], each["step"]) for each in card["trials"]]
    return card["pick"]["name"], trials, cutler.load(folder).predict(NEW)


def test_a_fit_that_is_killed_at_any_moment_goes_on_to_the_same_pick_and_predictions(checkpoint, tmp_path):
    (tmp_path / "rows.json").write_text(json.dumps(ROWS))
    (tmp_path / "plan.json").write_text(json.dumps(plan(checkpoint).as_json()))
    command = [sys.executable, "-c", RUN, str(tmp_path / "rows.json")]
    subprocess.run([*command, str(tmp_path / "whole"), str(tmp_path / "plan.json")], check=True, timeout=300)
    journal = state.place_of(tmp_path / "parts") / "journal.jsonl"
    for lines, later_s in ((3, 0.0), (8, 0.3)):
        running = subprocess.Popen([*command, str(tmp_path / "parts"), str(tmp_path / "plan.json")])
        while running.poll() is None and not (journal.is_file() and journal.read_bytes().count(b"\n") >= lines):
            time.sleep(0.02)
        time.sleep(later_s)
        running.send_signal(signal.SIGKILL)
        assert running.wait(60) == -signal.SIGKILL
    done = subprocess.run([*command, str(tmp_path / "parts"), str(tmp_path / "plan.json")], check=True, timeout=300,
                          capture_output=True, text=True)  # fmt: skip
    assert "going on with" in done.stderr
    assert ended(tmp_path / "parts") == ended(tmp_path / "whole")
    assert not state.place_of(tmp_path / "parts").exists()
