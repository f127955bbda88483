"""Every noun of cutler: what is asked, what is tried, what it costs, what comes out. Standard library only."""

from __future__ import annotations

from cutler.types.clues import AVERAGED, Clue, Clues
from cutler.types.explanations import Attention, Explanation, Faithfulness, Neighbour, Piece, Reason
from cutler.types.findings import Advice, Evidence, Finding, Record
from cutler.types.limits import LIMITS, UNNOTICED, WITHIN, Constraints, Cost, seconds
from cutler.types.parts import Combiner, Compressor, Family, Model, Monitor, Task
from cutler.types.pretraining import Architecture, Objective, Vocabulary
from cutler.types.rows import (
    CARRIED,
    COLUMNS,
    ID,
    NAN,
    NEIGHBOURS,
    Answer,
    Beside,
    Fold,
    Head,
    Interval,
    Profile,
    Row,
    Scalar,
    SetAside,
    Span,
    Splits,
    Spread,
    Table,
    rows_of,
    without_nan,
)
from cutler.types.trials import Candidate, Checkpoint, Pace, Pick, Plan, PlanItem, Range, Status, Trial

__all__ = [
    "AVERAGED", "CARRIED", "COLUMNS", "ID", "LIMITS", "NAN", "NEIGHBOURS", "UNNOTICED", "WITHIN", "Advice", "Answer",
    "Architecture", "Attention", "Beside", "Candidate", "Checkpoint", "Clue", "Clues", "Combiner", "Compressor",
    "Constraints", "Cost", "Evidence", "Explanation", "Faithfulness", "Family", "Finding", "Fold", "Head", "Interval",
    "Model", "Monitor", "Neighbour", "Objective", "Pace", "Pick", "Piece", "Plan", "PlanItem", "Profile", "Range",
    "Reason", "Record", "Row", "Scalar", "SetAside", "Span", "Splits", "Spread", "Status", "Table", "Task", "Trial",
    "Vocabulary", "rows_of", "seconds", "without_nan",
]  # fmt: skip
