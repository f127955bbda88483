from __future__ import annotations

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
import samples

from cutler import checks, registry, report
from cutler.report import facts, figures, growth, words
from cutler.types import NAN, Advice, Constraints, Cost, Interval

DOCS = Path(__file__).parent.parent / "docs"
HOSTILE = '<script>alert("x")</script> | **bold** & `tick`\n# head'
VOID = {"meta", "link", "br"}


class Page(HTMLParser):
    """Reads a page: its tags with attributes, and whether they close in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def having(self, attribute: str) -> list[str]:
        return [str(attrs[attribute]) for _, attrs in self.tags if attribute in attrs]


@pytest.fixture(scope="module")
def card() -> dict[str, str]:
    record, evidence = samples.record(), samples.evidence()
    return report.render(record, evidence, checks.run(record, evidence), bundle="tickets.cutler")


def number_card(*, target: float | None = None) -> dict[str, str]:
    base, goal = samples.record(), Constraints(target=target)
    tried = [
        replace(t, score=1 - (1.2 - t.score) / 1.4, metrics={"rmse": 1.2 - t.score}) if t.status == "complete" else t
        for t in base.trials
    ]
    profile = replace(base.profile, head="number", classes={}, target_mean=2.5, target_std=1.4)
    pick = replace(base.pick, trial=tried[7])
    record = replace(base, metric="rmse", trials=tried, profile=profile, pick=pick, constraints=goal)
    return report.render(record, samples.quiet_evidence(), [])


def plain(text: str) -> str:
    return text.replace(words.NB, " ")


def test_the_page_is_well_formed_and_stands_alone(card):
    page = Page(card["card.html"])
    assert page.open == []
    assert card["card.html"].lstrip().startswith("<!doctype html>")
    assert not {"script", "img", "iframe", "object", "base", "form"} & {tag for tag, _ in page.tags}
    assert page.having("src") == []
    assert [href for href in page.having("href") if not href.startswith("#")] == ["data:,"]
    assert not re.search(r"url\(|@import|https?://", card["card.html"])
    assert "default-src 'none'" in card["card.html"]


def test_the_answer_comes_first_in_plain_sentences(card):
    page = plain(Page(card["card.html"]).text)
    headline = "encoder all-MiniLM-L6-v2 int8: 94.2 % accuracy, 3.2 ms a text, 23 MB"
    lead = "On 600 rows it never saw, accuracy is 94.2 % (95 % interval 92.2 to 96.0 %)."
    assert 0 < page.index(headline) < page.index(lead) < page.index("Before you ship it")
    assert "Why this one: the cheapest whose expected loss against the best is at most 0.3 points." in page
    assert "Surely better than the floor, linear C=8 chars=True: +9.7 points" in page


def test_every_trial_is_shown_with_what_became_of_it(card):
    for text in (Page(card["card.html"]).text, card["card.md"]):
        for trial in samples.trials():
            assert trial.candidate.name in text
            assert trial.reason.replace("_", "") in text.replace("\\", "").replace("_", "")
    assert "best on validation; but 2.2 times its latency and 3.8 times its size against the pick" in card["card.md"]
    assert "do not fit into what is left of the budget" in card["card.html"]


def test_the_chart_marks_every_measured_trial_the_pick_and_the_limit(card):
    page = Page(card["card.html"])
    marks = [attrs for tag, attrs in page.tags if "dot" in str(attrs.get("class", "")).split()]
    assert len(marks) == sum(trial.status == "complete" for trial in samples.trials())
    assert [attrs["class"] for attrs in marks].index("dot pick") == len(marks) - 1
    assert "your limit" in page.text
    assert "encoder all-MiniLM-L6-v2 lr=5e-05: 92.1 %, 7.1 ms, 87 MB" in plain(page.text)


def test_numbers_beside_the_chart_are_those_of_the_table(card):
    rows = re.findall(r'<span class="rank">(\d+)</span></td><th scope="row">([^<]+)</th>', card["card.html"])
    assert [int(number) for number, _ in rows] == list(range(1, len(rows) + 1))
    assert rows[1][1].endswith("int8")


def test_figures_speak_to_those_who_cannot_see_them(card):
    page = Page(card["card.html"])
    assert [attrs["lang"] for tag, attrs in page.tags if tag == "html"] == ["en"]
    assert all(a.get("aria-label") or a.get("aria-labelledby") for _, a in page.tags if a.get("role") == "img")
    ids = set(page.having("id"))
    assert all(set(named.split()) <= ids for named in page.having("aria-labelledby"))
    assert all("scope" in attrs for tag, attrs in page.tags if tag == "th")


def test_the_page_holds_every_part_of_the_evidence(card):
    found = Page(card["card.html"]).having("id")
    parts = ["findings", "choice", "test", "labels", "errors", "more", "time", "data", "use", "again"]
    assert [name for name in found if name.startswith("h-")] == [f"h-{part}" for part in parts]
    text = Page(card["card.html"]).text
    assert "cutler predict tickets.cutler" in text
    assert samples.MINILM.digest in text
    assert "Estimates beside measurements" in text


def test_texts_and_labels_of_the_user_stay_texts():
    labels = (HOSTILE, *samples.LABELS[1:])
    record = replace(samples.record(labels), source=HOSTILE, columns={"text": HOSTILE, "label": "topic"})
    tests = [{"text": f"{HOSTILE} {n}", "label": HOSTILE} for n in range(20)]
    evidence = samples.evidence(labels)
    quoted = [{"text": row["text"], "truth": HOSTILE, "answer": "x", "probability": NAN} for row in tests]
    found = replace(evidence, errors=quoted, floor={HOSTILE: dict(evidence.metrics)})
    card = report.render(record, found, checks.run(record, found))
    assert "script" not in {tag for tag, _ in Page(card["card.html"]).tags}
    assert "<script>" not in card["card.html"]
    assert "<script>" not in card["card.md"]
    assert "\n# head" not in card["card.md"]
    assert json.loads(card["card.json"])["test"]["errors"][0]["truth"] == HOSTILE
    table = [line for line in card["card.md"].splitlines() if "alert" in line and line.startswith("|")]
    assert table
    assert all(len(re.findall(r"(?<!\\)\|", line)) in (4, 6) for line in table)


def test_the_same_record_gives_the_same_card(card):
    record, evidence = samples.record(), samples.evidence()
    again = report.render(record, evidence, checks.run(record, evidence), bundle="tickets.cutler")
    assert again == card


def test_a_card_of_500_labels_stays_small_and_shows_the_pairs_that_are_confused():
    labels = tuple(f"label {n}" for n in range(500))
    evidence = samples.evidence(labels, 0.8, 4000)
    card = report.render(samples.record(labels), evidence, [])
    assert len(card["card.html"].encode()) < 1_000_000
    assert 'class="matrix"' not in card["card.html"]
    assert "it says" in card["card.html"]
    assert len(json.loads(card["card.json"])["test"]["confusion"]) == len(evidence.labels) > 490


def test_a_number_task_has_neither_labels_nor_confusion_and_turns_its_chart():
    card = number_card(target=0.3)
    page = plain(Page(card["card.html"]).text)
    assert "0.410 RMSE" in page
    assert "RMSE (better ↑)" in page
    assert "Label by label" not in page
    assert "standard deviation 1.4" in page
    assert json.loads(card["card.json"])["larger_is_better"] is False


def test_probabilities_say_how_they_were_calibrated(card):
    assert "calibrated on 300 rows of calibration, temperature 1.3" in plain(card["card.html"])
    cut = replace(samples.record(), calibration={"part": "validation", "rows": 90, "thresholds": [0.2, 0.61]})
    page = report.render(cut, samples.evidence(), [])["card.html"]
    assert "calibrated on 90 rows of validation, thresholds 0.20 to 0.61" in page


def test_a_run_that_quotes_nothing_says_so():
    assert "asked to ship none" in number_card()["card.html"]


def test_no_finding_is_good_news():
    assert "No check fired" in number_card()["card.html"]
    assert "No check fired" in number_card()["card.md"]


def test_how_sure_the_pick_is_stands_in_all_three(card):
    sure = "Against encoder all-MiniLM-L6-v2 lr=5e-05 it was seen at -0.2 points (95 % interval -0.9 to +0.5)."
    worth = "its 91.9 % on validation are worth about 91.6 %. A second run, on other validation rows, would choose " \
        "it again in about 81 of 100 cases."  # fmt: skip
    for text in (plain(Page(card["card.html"]).text), plain(card["card.md"])):
        assert sure in text
        assert worth in text
    pick = json.loads(card["card.json"])["pick"]
    assert pick["margin"] == {"value": -0.2, "low": -0.9, "high": 0.5}
    assert (pick["looked"], pick["again"], pick["corrected"]) == (8, 0.81, 0.916)


ADVICE = Advice(
    of="frozen all-MiniLM-L6-v2 C=1.0", rows=2750, points=((344, 0.80), (687, 0.84), (1375, 0.87), (2750, 0.884)),
    curve={2750: Interval(0.916, 0.916, 0.916), 5500: Interval(0.928, 0.921, 0.934),
           11_000: Interval(0.937, 0.924, 0.95)},
    more={2: Interval(0.012, 0.005, 0.018), 4: Interval(0.021, 0.008, 0.034)},
    larger=Interval(0.006, -0.002, 0.014), larger_of="frozen all-MiniLM-L6-v2", conflicting=0.004, contradicted=0.13,
)  # fmt: skip


def test_what_would_make_it_better_is_told_and_drawn():
    record = replace(samples.record(), advice=ADVICE)
    card = report.render(record, samples.evidence(), checks.run(record, samples.evidence()))
    page = Page(card["card.html"])
    assert page.open == []
    rows = "2 times the rows would bring about +1.2 points (+0.5 to +1.8 points) and 4 times the rows would bring " \
        "about +2.1 points (+0.8 to +3.4 points), if it loses the same share of its errors as frozen"  # fmt: skip
    for text in (plain(page.text), plain(card["card.md"])):
        assert rows in text
        assert "Twice the layers brought about +0.6 points (-0.2 to +1.4 points) here" in text
        assert "cleaner labels can bring 8.1 points at most" in text
        assert "0.4 % of the training texts bear different labels" in text
    assert "growth-title" in page.having("id")
    told = json.loads(card["card.json"])["advice"]
    assert told["more"]["4"] == {"value": 0.021, "low": 0.008, "high": 0.034}
    assert told["points"][0] == [344, 0.8]


def test_where_more_rows_cannot_be_judged_the_card_says_why():
    record = replace(samples.record(), advice=Advice(why_not="a budget under 60 s has no time to spare for it"))
    card = report.render(record, samples.evidence(), [])
    for text in (card["card.html"], card["card.md"]):
        assert "What more rows would buy is not known: a budget under 60 s has no time to spare for it." in text
    assert "growth-title" not in card["card.html"]


def test_the_places_of_a_learning_curve_rise_with_rows_and_scores():
    found = growth.figure(replace(samples.record(), advice=ADVICE))
    assert [x for x, _ in found.measured] == sorted(x for x, _ in found.measured)
    assert [y for _, y in found.measured] == sorted((y for _, y in found.measured), reverse=True)
    assert all(bar.high <= bar.y <= bar.low for bar in found.bars)
    assert found.left < found.measured[0][0] < found.bars[-1].x < found.right


def test_scores_and_costs_that_were_foreseen_stand_beside_what_was_reached():
    base = samples.record()
    late = replace(base.trials[6], expected=Interval(0.9, 0.86, 0.94), estimate=Cost(90, 330, 20.0, 40, 100.0))
    record = replace(base, trials=[*base.trials[:6], late, *base.trials[7:]])
    card = report.render(record, samples.evidence(), [])
    page = plain(Page(card["card.html"]).text)
    assert "90.0 % (86.0 % to 94.0 %) → 92.1 %" in page
    assert "20 ms → 7.1 ms (!)" in page
    assert "1 min 40 s → 2 min 40 s (!)" in page
    kept = json.loads(card["card.json"])["estimates"]
    assert kept["latency_ms"] == {"trials": 8, "factor": 1.5, "within": 0.875}
    assert kept["train_s"]["within"] == 0.875
    assert kept["score"] == {"trials": 1, "within": 1.0}
    assert "latency of 7 of 8 trials within 1.5 times" in page


def test_json_keeps_to_its_documented_schema(card):
    told = json.loads(card["card.json"], parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    page = (DOCS / "card.md").read_text(encoding="utf-8")
    top, test, *_ = (re.findall(r"^\| (`.+?) \|", part, flags=re.M) for part in page.split("\n## "))
    assert set(re.findall(r"`(\w+)`", " ".join(top))) == set(told)
    assert set(re.findall(r"`(\w+)`", " ".join(test))) == set(told["test"])
    for key in ("trials", "pick"):
        said = page.split(f"\n## {key}\n")[1].split("\n## ")[0]
        entry = told[key][0] if key == "trials" else told[key]
        assert set(entry) <= set(re.findall(r"`(\w+)`", said))


def test_json_holds_the_numbers(card):
    told = json.loads(card["card.json"])
    assert set(told["test"]["metrics"]["accuracy"]) == {"value", "low", "high"}
    assert told["trials"][told["pick"]["index"]]["name"] == told["pick"]["name"]
    assert told["trials"][9]["score"] is None
    assert told["test"]["per_label"]["login"]["rows"] == sum(told["test"]["confusion"][3])
    assert told["constraints"]["latency_ms"] == 10
    assert told["findings"][0]["code"] == "CUT002"
    assert told["plan"]["items"][0]["name"] == "majority"


def test_cards_do_not_tell_where_files_lay():
    base = samples.record()
    trials = [replace(base.trials[0], folder="/home/ada/cache/abc"), *base.trials[1:]]
    card = report.render(replace(base, source="/home/ada/tickets.csv", trials=trials), samples.evidence(), [])
    assert not any("/home" in text or "ada/" in text for text in card.values())
    assert "/weights" not in card["card.json"]
    assert json.loads(card["card.json"])["trials"][0]["folder"] == "abc"


def test_the_markdown_starts_as_a_model_hub_reads_it(card):
    head = card["card.md"].split("---")[1]
    assert 'pipeline_tag: "text-classification"' in head
    assert 'tags: ["cutler", "text-classification"]' in head
    assert 'license: "apache-2.0"' in head
    assert f'base_model: "{samples.MINILM.name}"' in head


@pytest.mark.parametrize(
    ("task", "tag"),
    [("translation", "translation"), ("summarization", "summarization"), ("text_generation", "text-generation"),
     ("text_retrieval", "text-ranking"), ("question_answering", "question-answering"),
     ("tabular_regression", "tabular-regression"), ("text_pair_regression", "sentence-similarity"),
     ("text_regression", "text-classification"), ("multi_label_classification", "text-classification")],
)  # fmt: skip
def test_a_model_hub_reads_which_task_it_is(task, tag):
    card = report.render(replace(samples.record(), task=task), samples.evidence(), [])
    assert f'pipeline_tag: "{tag}"' in card["card.md"].split("---")[1]


def test_every_task_that_a_hub_is_told_of_is_there():
    assert set(facts.PIPELINES) <= set(registry.names("tasks"))


def test_a_run_without_a_measured_trial_still_gives_a_card():
    base = samples.record()
    bare = replace(base.pick.trial, cost=Cost())
    record = replace(base, trials=[bare], pick=replace(base.pick, trial=bare), checkpoints=(), machine={})
    card = report.render(record, replace(samples.evidence(), floor={}), [])
    assert "nothing to draw" in card["card.html"]


@pytest.mark.parametrize(("low", "high"), [(0.2, 0.93), (0.918, 0.921), (-1.4, 0.3), (0, 12000)])
def test_ticks_are_round_and_few(low, high):
    found = figures.steps(low, high)
    assert 2 <= len(found) <= 9
    assert low <= found[0] < found[-1] <= high
    assert all(len(f"{value:.6g}".replace("-", "").replace(".", "").strip("0")) <= 4 for value in found)


def test_a_far_worse_trial_does_not_flatten_the_chart():
    drawn = figures.chart(samples.trials(), Constraints(), metric="accuracy")
    below = [point.trial.candidate.name for point in drawn.points if point.below]
    assert below == ["majority"]
    heights = [point.y for point in drawn.points if not point.below]
    assert max(heights) - min(heights) > 0.6 * (drawn.bottom - drawn.top)


def test_an_rmse_is_drawn_smaller_is_higher_with_its_target_in_its_own_unit():
    tried = [replace(t, metrics={"rmse": 1 - t.score}) for t in samples.trials()[1:8]]
    drawn = figures.chart(tried, Constraints(target=0.9), metric="rmse", deviation=2.0)
    assert min(drawn.points, key=lambda p: p.y).trial.metrics["rmse"] == pytest.approx(0.079)
    texts, places = [float(tick.text) for tick in drawn.y_ticks], [tick.at for tick in drawn.y_ticks]
    assert texts == sorted(texts, reverse=True)
    assert places == sorted(places, reverse=True)
    assert drawn.target_y == pytest.approx(dict(zip(texts, places, strict=True))[0.2], abs=0.2)


def test_a_single_trial_has_a_chart():
    drawn = figures.chart(samples.trials()[1:2], Constraints(), metric="accuracy")
    assert drawn.left < drawn.points[0].x < drawn.right
    assert drawn.top < drawn.points[0].y < drawn.bottom


SAID = [
    (words.milliseconds(0.314), "0.31 ms"), (words.milliseconds(1240.0), "1.2 s"), (words.milliseconds(NAN), "–"),
    (words.megabytes(0.0009), "0.90 KB"), (words.megabytes(23.1), "23 MB"), (words.megabytes(1200), "1.2 GB"),
    (words.duration(0.4), "0.40 s"), (words.duration(168), "2 min 48 s"), (words.duration(300), "5 min"),
    (words.duration(3900), "1 h 05 min"), (words.duration(7200), "2 h"), (words.number(1240), "1,240"),
    (words.value(0.9318, "f1:spam"), "93.2 %"), (words.value(0.4109, "rmse"), "0.411"),
    (words.gain(0.0123, "accuracy"), "+1.2 points"), (words.gain(-0.0123, "pearson"), "-0.012"),
    (words.span(Interval(0.01, -0.002, 0.03), "accuracy"), "-0.2 to +3.0 points"),
    (words.gain(0.1, "rmse"), "+0.100 standard deviations"),
    (words.metric_name("recall:spam"), "recall of spam"), (words.metric_name("macro_f1"), "macro F1"),
]  # fmt: skip


@pytest.mark.parametrize(("said", "expected"), SAID)
def test_numbers_read_as_people_write_them(said, expected):
    assert plain(said) == expected
