"""How near the texts are to what the pick's checkpoint was pretrained on, and what that lets one expect."""

from __future__ import annotations

from cutler.checks.base import NotApplicable, Seen, check, percent
from cutler.types import Evidence, Record

FAR = 0.3
"""Six corpora of other kinds are mostly below this to one another, and held-out text of each above 0.6 to itself
(benchmarks/results/domains.json)."""
FEW_WHOLE, UNKNOWN = 0.7, 0.02
NO_CHECKPOINT = NotApplicable("the pick starts from no checkpoint")


@check(
    "CUT061", "Text far from what the checkpoint was pretrained on", severity="warning",
    remedy="Go on pretraining it on texts of yours, labelled or not, and fit from that: "
    "`cutler pretrain TEXTS --continue-from CHECKPOINT --out NEARER`.",
)  # fmt: skip
def far(record: Record, evidence: Evidence) -> Seen:
    """Fires when a word of the training texts is on average more than three times as rare in the checkpoint's
    pretraining text as that text's own words (similarity under 0.3); where that text is not known, when its tokenizer
    takes fewer than 70 % of the words whole, or does not know 2 % of the tokens.
    """
    if not record.picked_checkpoints:
        return NO_CHECKPOINT
    told = [sentence for name, facts in _picked(record) if (sentence := _far(name, facts))]
    return " ".join(told) or None


@check(
    "CUT062", "How near the checkpoint is to the texts", severity="info",
    remedy="Nothing to do: of several checkpoints that are otherwise alike, the nearer one is the better bet.",
)  # fmt: skip
def near(record: Record, evidence: Evidence) -> Seen:
    """Fires when the pretraining text of the pick's checkpoint is known, and is near the training texts."""
    if not record.picked_checkpoints:
        return NO_CHECKPOINT
    known = [(name, facts["similarity"]) for name, facts in _picked(record) if "similarity" in facts]
    if not known:
        return NotApplicable("what the checkpoint was pretrained on is not known")
    told = [f"Similarity to the pretraining text of {name}: {value:.2f} of 1; {_meaning(value)}."
            for name, value in known if value >= FAR]  # fmt: skip
    return " ".join(told) or None


def _far(name: str, facts: dict[str, float]) -> str:
    if "similarity" in facts:
        value = facts["similarity"]
        return "" if value >= FAR else (
            f"Similarity to the pretraining text of {name}: {value:.2f} of 1; {_meaning(value)}, so that less of what "
            "it learned can be expected to help here."
        )  # fmt: skip
    if not facts or facts["whole"] >= FEW_WHOLE and facts["unknown"] < UNKNOWN:
        return ""
    unknown = f", and {percent(facts['unknown'])} of the tokens stand for nothing" if facts["unknown"] else ""
    return (
        f"The tokenizer of {name} takes {percent(facts['whole'])} of the words whole ({facts['tokens_per_word']:.2f} "
        f"tokens a word){unknown}: many words here were rare or absent where it was trained."
    )


def _meaning(similarity: float) -> str:
    if similarity > 0.95:
        return "words are about as common there as its own"
    return f"a word of these texts is {1 / similarity:.1f} times as rare there as one of its own"


def _picked(record: Record) -> list[tuple[str, dict[str, float]]]:
    found = [(each.name, dict(record.domains.get(each.name, {}))) for each in record.picked_checkpoints]
    return [(name, facts) for name, facts in found if facts]
