from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import samples

from cutler import checks
from cutler.types import Advice, Candidate, Clue, Clues, Constraints, Cost, Evidence, Interval, Record, Trial

DOCS = Path(__file__).parent.parent / "docs"
CODES = [check.code for check in checks.catalogue()]


def clean_record() -> Record:
    """A run that no check has anything to say about."""
    found = samples.record()
    facts = replace(found.profile, duplicates=0, conflicts=0, set_aside=0, leaks={}, n_validation=2000)
    tried = [trial for trial in found.trials if trial.status == "complete"]
    bare = Candidate("static", "", {"width": 128})
    pick = replace(found.pick, trial=samples.done(bare, 0.94, size=8.2, ms=0.22, train=9.8), corrected=0.945)
    return replace(found, profile=facts, trials=[*tried, pick.trial], pick=pick)


def clean_evidence() -> Evidence:
    return replace(samples.evidence(), metrics={"accuracy": Interval(0.93, 0.91, 0.95)})


def with_profile(**facts) -> Record:
    record = clean_record()
    return replace(record, profile=replace(record.profile, **facts))


def with_pick(**changes) -> Record:
    record = clean_record()
    return replace(record, pick=replace(record.pick, trial=replace(record.pick.trial, **changes)))


def from_minilm(**facts) -> Record:
    record = with_pick(candidate=samples.candidate("frozen"))
    return replace(record, checkpoints=[replace(samples.MINILM, **facts)])


def with_trials(*more: Trial, families: tuple[str, ...] = ()) -> Record:
    record = clean_record()
    kept = [trial for trial in record.trials if not families or trial.candidate.family in families]
    return replace(record, trials=[*kept, *more])


def with_rows(label: str, rows: int, recall: float = 1.0) -> Evidence:
    found = clean_evidence()
    facts = {"precision": 1.0, "recall": recall, "f1": recall, "rows": rows}
    return replace(found, per_label={**found.per_label, label: facts})


def sure_of(**facts) -> Record:
    record = clean_record()
    margin = Interval(-0.2, -0.9, 0.5)
    return replace(record, pick=replace(record.pick, rival="linear C=8.0", margin=margin, looked=9, **facts))


def advised(**facts) -> Record:
    return replace(clean_record(), advice=Advice(of="linear C=8.0", rows=2750, **facts))


FORESEEN = replace(samples.trials()[6], expected=Interval(0.86, 0.82, 0.9))
OFF = replace(samples.trials()[4], estimate=Cost(latency_ms=20.0, size_mb=80.0))
BROKE = Trial(samples.candidate("encoder"), "failed", reason="out of memory at step 3")
BETTER = samples.done(samples.candidate("encoder"), 0.97, size=80.0, ms=25.0, train=50.0)
EVEN = samples.done(samples.candidate("linear"), 0.92, size=1.0, ms=0.3, train=1.0)
SCORED = {"accuracy": Interval(0.999, 0.997, 1.0)}
TUNED = ("majority", "linear", "static")
DEAR = Constraints(latency_ms=0.23, size_mb=100)



def with_kind(picked: Trial, *beside: Trial, **facts) -> Record:
    """A run whose pick is of some kind, with a transformer's licence and size known."""
    record = with_profile(**facts)
    return replace(record, trials=[*record.trials, picked, *beside], pick=replace(record.pick, trial=picked),
                   checkpoints=[samples.MINILM])  # fmt: skip


SMOL = "HuggingFaceTB/SmolLM2-135M-Instruct"
ASKED = samples.done(Candidate("prompt", SMOL, {"shots": 8}), 0.71, size=540.0, ms=900.0, train=1.0)
LEFT_TO_RIGHT = samples.done(Candidate("decoder", SMOL), 0.93, size=540.0, ms=90.0, train=100.0)
STILL = samples.done(samples.candidate("frozen"), 0.915, size=70.0, ms=5.0, train=31.0)
BY_HEART = replace(samples.done(samples.candidate("encoder"), 0.95, size=87.0, ms=7.0, train=160.0), trained=1.0)
OVER = replace(BY_HEART, score=0.89, metrics={"accuracy": 0.89}, trained=0.999)
HARDER = replace(clean_evidence(), metrics={"accuracy": Interval(0.88, 0.86, 0.90)})
KINDS = {
    "CUT070": (with_kind(STILL), clean_evidence(), "reaches accuracy 0.921 on validation, 0.6 points better."),
    "CUT071": (with_trials(ASKED), clean_evidence(), "prompt SmolLM2-135M-Instruct (900 ms, 540 MB) reaches acc"),
    "CUT072": (with_kind(LEFT_TO_RIGHT), clean_evidence(), "0.921 on validation (0.9 points worse)"),
    "CUT073": (
        replace(with_kind(OVER, n_train=300), trials=[*with_trials(families=TUNED).trials, OVER]), HARDER,
        "has 75,711 parameters for each training row and reaches 0.999 on a sample of these, 0.890 on validation",
    ),
    "CUT074": (
        with_kind(BY_HEART, conflicts=40, duplicates=200), clean_evidence(),
        "40 texts bear different labels, 20.0 % of 200 repeats",
    ),
}  # fmt: skip
FIRES = {
    "CUT001": (with_profile(leaks={"test": 6}), clean_evidence(), "6 of 600 test rows (1.0 %)"),
    "CUT002": (with_profile(conflicts=1), clean_evidence(), "1 text of"),
    "CUT003": (with_profile(duplicates=318), clean_evidence(), "318 training rows (10.0 %)"),
    "CUT004": (with_profile(set_aside=2), clean_evidence(), "2 rows could not"),
    "CUT005": (with_profile(unseen_labels=("x", "y")), clean_evidence(), "2 labels without a training row: x, y"),
    "CUT006": (clean_record(), with_rows("rare", 4), "1 of 7 labels with fewer than 10 test rows: rare (4)"),
    "CUT007": (with_profile(classes={"a": 50, "b": 9}), clean_evidence(), "1 of 2 labels with fewer than 10 train"),
    "CUT008": (with_profile(classes={"a": 900, "b": 30}), clean_evidence(), "'a' has 900 training rows, 'b' has 30"),
    "CUT009": (with_profile(made=("test",)), clean_evidence(), "600 rows were drawn"),
    "CUT010": (replace(from_minilm(), profile=with_profile(language="de").profile), clean_evidence(), "in 'de'"),
    "CUT011": (
        replace(from_minilm(), profile=with_profile(scripts={"Latin": 0.7, "Thai": 0.3}).profile),
        clean_evidence(), "30.0 % of the letters are Thai",
    ),
    "CUT012": (with_profile(leaks={"validation": 3}), clean_evidence(), "3 of 2,000 validation rows (0.1 %)."),
    "CUT021": (with_trials(families=TUNED), clean_evidence(), "Within 300 s no checkpoint could be fine-tuned;"),
    "CUT022": (with_trials(BROKE), clean_evidence(), "out of memory at step 3"),
    "CUT023": (with_trials(OFF), clean_evidence(), "Missed in 10 trials: 1 of latency by more than 1.5 times; the"),
    "CUT024": (with_profile(n_validation=120), clean_evidence(), "With 120 validation rows, accuracy is known to 8.5"),
    "CUT025": (with_profile(n_calibration=0), clean_evidence(), "calibrated on the 2,000 validation rows"),
    "CUT026": (with_trials(BETTER), clean_evidence(), "3.0 points better on validation, but latency_ms 25 is over"),
    "CUT027": (replace(clean_record(), constraints=DEAR), clean_evidence(), "95.7 % of latency_ms 0.23"),
    "CUT028": (with_trials(EVEN), clean_evidence(), "is 0.1 points ahead of the best linear model"),
    **KINDS,
    "CUT090": (sure_of(again=0.35), clean_evidence(), "in about 35 of 100 cases; against linear C=8.0 it was -0.2"),
    "CUT091": (sure_of(corrected=0.92), clean_evidence(), "0.940 on validation is worth about 0.920"),
    "CUT092": (advised(more={4: Interval(0.03, 0.012, 0.05)}), clean_evidence(), "+3.0 points (+1.2 to +5.0"),
    "CUT093": (with_trials(FORESEEN), clean_evidence(), "1 of 1 foreseen score missed: encoder all-MiniLM-L6-v2 lr"),
    "CUT094": (advised(contradicted=0.14), clean_evidence(), "14.0 % of the labels in training"),
    "CUT041": (
        clean_record(), replace(clean_evidence(), gain=Interval(0.004, -0.01, 0.02)),
        "over linear C=8 chars=True is +0.004, with a 95 % interval from -0.010 to +0.020",
    ),
    "CUT042": (
        clean_record(), replace(clean_evidence(), metrics={"accuracy": Interval(0.8, 0.77, 0.83)}),
        "0.940 on validation and 0.800 (0.770 to 0.830) on test",
    ),
    "CUT043": (from_minilm(), replace(clean_evidence(), truncated=0.031), "3.1 % of the test texts are longer"),
    "CUT044": (from_minilm(), clean_evidence(), "under Apache-2.0"),
    "CUT045": (from_minilm(licence="CC-BY-NC-4.0"), clean_evidence(), "is CC-BY-NC-4.0"),
    "CUT046": (with_pick(metrics={}), replace(clean_evidence(), metrics=SCORED), "0.9990 on 600 test rows"),
    "CUT047": (clean_record(), with_rows("lost", 25, 0.0), "None of their test rows were answered right: lost"),
    "CUT048": (clean_record(), replace(clean_evidence(), n_test=40), "With 40 test rows, accuracy may be anywhere"),
    "CUT049": (
        replace(clean_record(), constraints=Constraints(target=0.94)), clean_evidence(),
        "short of the target of 0.94; its interval reaches that far",
    ),
    "CUT081": (with_profile(telling={"verdict": 0.97, "hour": 0.4}), clean_evidence(), "nearly all: verdict (97.0 %)"),
    "CUT082": (
        with_profile(nodes=5, edges=1, edge_faults={"given twice": 3}), clean_evidence(),
        "Left out: 3 given twice; 1 edge between 5 nodes stay.",
    ),
    "CUT061": (
        replace(from_minilm(), domains={samples.MINILM.name: {"similarity": 0.125}}), clean_evidence(),
        "0.12 of 1; a word of these texts is 8.0 times as rare there",
    ),
    "CUT062": (
        replace(from_minilm(), domains={samples.MINILM.name: {"similarity": 0.5}}), clean_evidence(), "0.50 of 1",
    ),
    "CUT098": (
        with_trials(samples.done(Candidate("static", "", {"width": 128, "draw": 1}), 0.9, size=8.2, ms=0.2, train=9.8)),
        clean_evidence(), "With 2 seeds the same recipe scored 0.9000 to 0.9400 on validation, 4.0 points apart.",
    ),
    "CUT050": (with_pick(cost=Cost(latency_ms=12.0)), clean_evidence(), "latency_ms 12 is over the limit of 10"),
}  # fmt: skip


def with_clues(*trials: Trial, dropped: tuple[tuple[str, str], ...] = ()) -> Record:
    """A run in which cheap evidence put one checkpoint well before another."""
    told = {name: Clue(2, "mean", {"probe": value})
            for name, value in (("/models/first", 0.9), (samples.MINILM.name, 0.6))}  # fmt: skip
    clues = [Clues(name, 300, "probe", each.told["probe"], each, [each], below=each.told["probe"] < 0.9)
             for name, each in told.items()]  # fmt: skip
    found = with_trials(*trials)
    return replace(found, clues=clues, plan=replace(found.plan, dropped=dropped))


OF_FIRST = samples.done(Candidate("frozen", "/models/first"), 0.91, size=80.0, ms=7.0, train=30.0)
FIRES |= {
    "CUT085": (with_clues(OF_FIRST), clean_evidence(), "the best trial from all-MiniLM-L6-v2 is 1.1 points better"),
    "CUT086": (
        with_clues(dropped=(("encoder all-MiniLM-L6-v2 trained_layers=6", "9 s are left"),)), clean_evidence(),
        "By probe, all-MiniLM-L6-v2 (0.600) fell clearly short of first (0.900).",
    ),
}  # fmt: skip


def test_evidence_that_training_bears_out_is_no_finding():
    better = replace(OF_FIRST, score=0.95)
    assert seen_by("CUT085", with_clues(better)) is None
    assert seen_by("CUT086", with_clues(better)) is None
    assert isinstance(seen_by("CUT085", with_clues()), checks.NotApplicable)


def test_a_clean_run_has_no_finding():
    assert checks.run(clean_record(), clean_evidence()) == []


@pytest.mark.parametrize("code", CODES)
def test_each_check_fires_alone_on_what_it_looks_for_and_says_the_number(code):
    record, evidence, said = FIRES[code]
    found = {finding.code: finding for finding in checks.run(record, evidence)}
    assert said in found[code].message
    # a pick from a checkpoint has a licence, a broken limit is one, and labels contradict where texts are repeated
    assert set(found) - {code} <= {"CUT044", "CUT050", *(("CUT002", "CUT003") if code == "CUT074" else ())}


def test_every_finding_is_a_sentence_with_a_remedy_and_a_number_of_its_own():
    assert len(CODES) == len(set(CODES)) == len(FIRES)
    for check in checks.catalogue():
        assert check.remedy.endswith(".")
        assert check.meaning.startswith("Fires when")
        assert FIRES[check.code][2]


def test_findings_are_sorted_by_gravity():
    found = checks.run(samples.record(), samples.evidence())
    assert [f.severity for f in found] == ["warning", "warning", "warning", "info", "info", "info"]


def seen_by(code: str, record: Record) -> checks.Seen:
    return next(seen for each, seen in checks.outcomes(record, clean_evidence()) if each.code == code)


def test_a_linear_model_ties_with_a_frozen_one_and_with_a_transformer_that_was_picked():
    frozen = with_trials(families=("linear", "frozen"))
    assert seen_by("CUT028", frozen) is None
    near = samples.done(samples.candidate("linear"), 0.883, size=1.0, ms=0.3, train=1.0)
    assert "the best transformer, frozen all-MiniLM-L6-v2, is 0.1 points" in seen_by("CUT028", with_trials(
        near, families=("linear", "frozen")))  # fmt: skip
    picked = samples.done(samples.candidate("frozen"), 0.922, size=87.4, ms=5.0, train=31.0)
    assert "the pick, frozen all-MiniLM-L6-v2, is 0.2 points" in seen_by("CUT028", with_kind(picked, EVEN))


def test_a_decoder_may_write_and_a_large_model_may_know_its_rows_where_it_generalises():
    assert isinstance(seen_by("CUT072", with_kind(LEFT_TO_RIGHT, head="text")), checks.NotApplicable)
    assert seen_by("CUT073", with_kind(BY_HEART, n_train=300)) is None  # 5 points between training and validation
    assert seen_by("CUT073", with_kind(OVER, n_train=30_000)) is None


def test_a_large_model_that_is_not_picked_is_named_only_where_a_smaller_one_does_as_well():
    beaten = samples.done(samples.candidate("linear"), 0.889, size=1.0, ms=0.3, train=1.0)
    record = replace(with_kind(BY_HEART, n_train=300), pick=clean_record().pick)
    worse, better = ([*with_trials(families=("majority",)).trials, OVER, *more] for more in ((), (beaten,)))
    assert seen_by("CUT073", replace(record, trials=worse)) is None
    assert "linear (0.3 ms, 1 MB) reaches" in seen_by("CUT073", replace(record, trials=better))


def test_a_floor_that_is_the_pick_is_not_held_against_itself():
    record = with_pick(candidate=samples.candidate("linear", {"C": 8.0, "chars": True}))
    told = dict((check.code, seen) for check, seen in checks.outcomes(record, clean_evidence()))
    assert told["CUT041"] == checks.NotApplicable("the pick is the floor itself")


def test_one_answer_for_every_text_is_serious():
    found = checks.run(with_pick(candidate=samples.candidate("majority")), clean_evidence())
    assert [(f.code, f.severity) for f in found] == [("CUT041", "serious")]


def test_a_run_without_labels_or_checkpoint_says_what_does_not_apply():
    record = with_profile(classes={}, head="number")
    ranked = replace(samples.quiet_evidence(), metrics={"accuracy": Interval(0.93, 0.91, 0.95)})
    idle = {c.code: s.reason for c, s in checks.outcomes(record, ranked) if isinstance(s, checks.NotApplicable)}
    assert {"CUT006", "CUT007", "CUT008", "CUT010", "CUT011", "CUT025", "CUT044", "CUT047"} <= set(idle)
    assert all(idle.values())


def test_an_rmse_reaches_its_target_as_a_share_of_the_spread():
    record = replace(with_profile(target_std=1.4), metric="rmse", constraints=Constraints(target=0.7))
    assert not {"CUT049", "CUT046"} & {f.code for f in checks.run(record, samples.quiet_evidence())}
    record = replace(record, constraints=Constraints(target=0.8))
    assert "CUT049" in {f.code for f in checks.run(record, samples.quiet_evidence())}


def test_the_page_of_findings_is_written_from_the_checks():
    assert (DOCS / "findings.md").read_text(encoding="utf-8") == checks.markdown()


def test_cut_short_texts_come_with_what_reading_them_whole_was_worth():
    cut, short = from_minilm(), replace(clean_evidence(), truncated=0.031)
    whole = samples.candidate("frozen").having({"reading": "windows"})
    tried = replace(cut, trials=[*cut.trials, samples.done(whole, 0.912, size=80.0, ms=25.0, train=50.0)])
    dropped = replace(cut, plan=replace(cut.plan, dropped=((whole.name, "20 s are left"),)))
    said = [[f.message for f in checks.run(record, short) if f.code == "CUT043"][0] for record in (tried, dropped)]
    assert said[0].endswith("reading=windows reads them whole: 0.912 on validation.")
    assert said[1].endswith("too little time to try reading them whole.")


def test_an_endpoint_is_no_checkpoint_that_could_be_fine_tuned():
    asked = replace(samples.MINILM, architecture="endpoint")
    only = replace(with_trials(families=TUNED), checkpoints=[asked])
    assert isinstance(seen_by("CUT021", only), checks.NotApplicable)
    assert "could be fine-tuned" in str(seen_by("CUT021", replace(only, checkpoints=[asked, samples.MINILM])))
