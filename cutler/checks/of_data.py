"""What the data itself gives away: leaks, contradictions, classes of a few rows, texts the checkpoint never saw."""

from __future__ import annotations

from cutler.checks.base import NotApplicable, Seen, check, listed, percent, times
from cutler.types import Evidence, Record

FEW = 10
UNEVEN = 10.0
FOREIGN = 0.1
MANY = 0.01
NO_CLASSES = NotApplicable("the target is no class")


@check(
    "CUT001", "Many test rows stand in training", severity="serious",
    remedy="Remove these rows from one of the two parts, or give one file and let cutler split it; "
    "with `--group COLUMN`, rows that belong together stay together.",
)  # fmt: skip
def leak(record: Record, evidence: Evidence) -> Seen:
    """Fires when 1 % or more of the texts of validation or test also stand in training: quality is partly memory."""
    return _leaks(record) if max(_leaked(record).values(), default=0) >= MANY else None


@check(
    "CUT012", "A few test rows stand in training", severity="info",
    remedy="So few hardly change the numbers; remove them from one of the two parts if you compare in public.",
)  # fmt: skip
def few_leaks(record: Record, evidence: Evidence) -> Seen:
    """Fires when less than 1 % of the texts of validation or test also stand in training."""
    return _leaks(record) if 0 < max(_leaked(record).values(), default=0) < MANY else None


@check(
    "CUT002", "The same text bears different labels", severity="warning",
    remedy="Decide which label is right and correct the file; no model can be right on both.",
)  # fmt: skip
def conflicts(record: Record, evidence: Evidence) -> Seen:
    """Fires when identical texts were labelled differently."""
    count = record.profile.conflicts
    return f"{times(count, 'text')} of training with labels that contradict each other." if count else None


@check(
    "CUT003", "Duplicate rows", severity="info",
    remedy="Harmless when few. When many, remove them, or they weigh more than the rest.",
)  # fmt: skip
def duplicates(record: Record, evidence: Evidence) -> Seen:
    """Fires when training rows repeat a text that stands in training before."""
    count, n = record.profile.duplicates, record.profile.n_train
    return f"{times(count, 'training row')} ({percent(count / max(n, 1))}) repeat an earlier text." if count else None


@check(
    "CUT004", "Rows were set aside", severity="warning",
    remedy="Look for empty cells and for answers that cannot be read, mend them, and fit again if there are many.",
)  # fmt: skip
def set_aside(record: Record, evidence: Evidence) -> Seen:
    """Fires when rows could not be used: no text, no label, or a target that cannot be read."""
    count = record.profile.set_aside
    return f"{times(count, 'row')} could not be used and took no part in anything." if count else None


@check(
    "CUT005", "Labels that training lacks", severity="warning",
    remedy="Add training rows for them, or take the rows out of validation and test: no model can answer a label "
    "that it never saw.",
)  # fmt: skip
def unseen(record: Record, evidence: Evidence) -> Seen:
    """Fires when validation or test hold labels without a single training row."""
    labels = list(record.profile.unseen_labels)
    return f"{times(len(labels), 'label')} without a training row: {listed(labels)}." if labels else None


@check(
    "CUT006", "Classes too small to judge", severity="warning",
    remedy="Collect more rows of these labels before relying on their numbers; 30 test rows each is a fair start.",
)  # fmt: skip
def too_small_to_judge(record: Record, evidence: Evidence) -> Seen:
    """Fires when a label has fewer than 10 test rows: its precision and recall are then little more than a guess."""
    if not evidence.per_label:
        return NO_CLASSES
    few = sorted((int(facts["rows"]), label) for label, facts in evidence.per_label.items() if facts["rows"] < FEW)
    named = listed([f"{label} ({count})" for count, label in few])
    total = len(evidence.per_label)
    return f"{len(few)} of {times(total, 'label')} with fewer than {FEW} test rows: {named}." if few else None


@check(
    "CUT007", "Classes too small to learn", severity="warning",
    remedy="Collect more training rows of these labels, merge them with a near label, or drop them.",
)  # fmt: skip
def too_small_to_learn(record: Record, evidence: Evidence) -> Seen:
    """Fires when a label has fewer than 10 training rows."""
    if not record.profile.classes:
        return NO_CLASSES
    few = sorted((count, label) for label, count in record.profile.classes.items() if count < FEW)
    named = listed([f"{label} ({count})" for count, label in few])
    total = len(record.profile.classes)
    return f"{len(few)} of {times(total, 'label')} with fewer than {FEW} training rows: {named}." if few else None


@check(
    "CUT008", "Classes of very different size", severity="warning",
    remedy="Judge by `--metric macro_f1`, which counts every class alike, and by the table of labels.",
)  # fmt: skip
def imbalance(record: Record, evidence: Evidence) -> Seen:
    """Fires when the largest class has 10 times the training rows of the smallest and accuracy is the metric."""
    classes = record.profile.classes
    if not classes:
        return NO_CLASSES
    if record.profile.head == "tags":
        return NotApplicable("words are tagged, and some kinds of words are rare")
    if record.metric not in ("accuracy", "micro_f1"):
        return NotApplicable(f"{record.metric} does not favour large classes")
    large, small = max(classes, key=lambda k: classes[k]), min(classes, key=lambda k: classes[k])
    if classes[large] < UNEVEN * max(classes[small], 1):
        return None
    return f"{large!r} has {classes[large]:,} training rows, {small!r} has {classes[small]:,}."


@check(
    "CUT009", "The test part was carved here", severity="info",
    remedy="If later texts will differ (other months, other customers), give a test file of your own; "
    "rows that belong together need `--group COLUMN`.",
)  # fmt: skip
def carved(record: Record, evidence: Evidence) -> Seen:
    """Fires when the source had no test part, so that a random part of its rows became the test."""
    if "test" not in record.profile.made:
        return None
    rows = times(record.profile.n_test, "row")
    return f"The source has no test part: {rows} were drawn from it at random and kept apart."


@check(
    "CUT010", "A language the checkpoint does not know", severity="warning",
    remedy="Give a checkpoint for this language with `--checkpoint`; several multilingual encoders exist.",
)  # fmt: skip
def language(record: Record, evidence: Evidence) -> Seen:
    """Fires when the texts' language is none of those that the picked model's checkpoint was trained on."""
    code = record.profile.language
    if not record.picked_checkpoints:
        return NotApplicable("the pick starts from no checkpoint")
    told = [checkpoint for checkpoint in record.picked_checkpoints if any(checkpoint.languages)]
    if not code or not told:
        return NotApplicable("the language of the texts or of the checkpoint is not known")
    strange = next((checkpoint for checkpoint in told if code not in checkpoint.languages), None)
    if strange is None:
        return None
    return f"The texts are in {code!r}; {strange.name} was trained on {listed(list(strange.languages))}."


@check(
    "CUT011", "A script the checkpoint does not know", severity="warning",
    remedy="Give a checkpoint whose vocabulary covers this script with `--checkpoint`.",
)  # fmt: skip
def script(record: Record, evidence: Evidence) -> Seen:
    """Fires when a tenth of the letters are of scripts that the vocabulary of the pick's checkpoint hardly holds."""
    told = [checkpoint for checkpoint in record.picked_checkpoints if checkpoint.scripts]
    if not told:
        return NotApplicable("the pick starts from no checkpoint, or from one whose scripts are not known")
    for checkpoint in told:
        foreign = {name: share for name, share in record.profile.scripts.items() if name not in checkpoint.scripts}
        if sum(foreign.values()) >= FOREIGN:
            names = listed(sorted(foreign, key=lambda name: -foreign[name]))
            return f"{percent(sum(foreign.values()))} of the letters are {names}, which {checkpoint.name} hardly knows."
    return None


def _leaked(record: Record) -> dict[str, float]:
    sizes = {"validation": record.profile.n_validation, "test": record.profile.n_test}
    return {part: count / max(sizes[part], 1) for part, count in record.profile.leaks.items() if part in sizes}


def _leaks(record: Record) -> str:
    facts = record.profile
    found = [
        f"{facts.leaks[part]:,} of {times(size, f'{part} row')} ({percent(facts.leaks[part] / max(size, 1))})"
        for part, size in (("validation", facts.n_validation), ("test", facts.n_test))
        if facts.leaks.get(part)
    ]
    return f"Their text also stands in training: {' and '.join(found)}."
