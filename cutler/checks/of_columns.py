"""What columns and edges beside the text give away: answers that stand in a column, edges that lead nowhere."""

from __future__ import annotations

from cutler.checks.base import NotApplicable, Seen, check, listed, percent, times
from cutler.types import Evidence, Record

TELLS_ALL = 0.95
NO_COLUMNS = NotApplicable("no column is read beside the text")


@check(
    "CUT081", "A column tells the answer alone", severity="serious",
    remedy="Ask whether this column is known when predicting. If it is written after the answer, or from it, leave it "
    "out: name the columns to read with `--feature`, or give `--no-features`. If it is known, you may need no model.",
)  # fmt: skip
def telling(record: Record, evidence: Evidence) -> Seen:
    """Fires when one column alone takes away 95 % or more of what the commonest answer (or the mean) misses."""
    if not record.profile.telling:
        return NO_COLUMNS
    found = {name: share for name, share in record.profile.telling.items() if share >= TELLS_ALL}
    told = listed([f"{name} ({percent(share)})" for name, share in found.items()])
    return f"Of what the best constant answer misses, one column alone tells nearly all: {told}." if found else None


@check(
    "CUT082", "Edges that cannot be used", severity="warning",
    remedy="Mend the file of edges: an edge needs two different ids that rows have, and counts once, whatever its "
    "direction.",
)  # fmt: skip
def edges(record: Record, evidence: Evidence) -> Seen:
    """Fires when edges were empty, doubled, from a node to itself, or to an id that no row has."""
    faults, facts = record.profile.edge_faults, record.profile
    if not facts.edges:
        return NotApplicable("the rows lie in no graph")
    if not faults:
        return None
    found = listed([f"{count:,} {what}" for what, count in faults.items()])
    return f"Left out: {found}; {times(facts.edges, 'edge')} between {times(facts.nodes, 'node')} stay."
