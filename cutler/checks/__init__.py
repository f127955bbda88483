"""Numbered findings on a finished run, each with a remedy; silent where all is well."""

from __future__ import annotations

from cutler.checks import (  # each registers its checks
    of_columns,  # noqa: F401
    of_data,  # noqa: F401
    of_domain,  # noqa: F401
    of_evidence,  # noqa: F401
    of_kind,  # noqa: F401
    of_pick,  # noqa: F401
    of_result,  # noqa: F401
    of_search,  # noqa: F401
    of_seeds,  # noqa: F401
)
from cutler.checks.base import CHECKS, SEVERITIES, Check, NotApplicable, Seen
from cutler.types import Evidence, Finding, Record

__all__ = ["Check", "NotApplicable", "Seen", "catalogue", "markdown", "outcomes", "run"]


def run(record: Record, evidence: Evidence) -> list[Finding]:
    """The findings that fired, gravest first, then by code."""
    fired = [
        Finding(each.code, each.title, each.severity, seen, each.remedy)
        for each, seen in outcomes(record, evidence)
        if isinstance(seen, str)
    ]
    return sorted(fired, key=lambda finding: (SEVERITIES.index(finding.severity), finding.code))


def outcomes(record: Record, evidence: Evidence) -> list[tuple[Check, Seen]]:
    """Every check with what it saw: a sentence, None where all is well, or why it does not apply."""
    return [(each, each.look(record, evidence)) for each in catalogue()]


def catalogue() -> list[Check]:
    """Every check, by code."""
    return [CHECKS[code] for code in sorted(CHECKS)]


def markdown() -> str:
    """The catalogue as the page docs/findings.md."""
    head = (
        "# Findings\n\n"
        "After every run cutler looks at the data, the search and the result, and reports what deserves a second look. "
        "Each finding has a number, says what was seen, and what to do about it. A card that shows none is the good "
        "case.\n\n"
        "| severity | meaning |\n|---|---|\n"
        "| serious | do not ship before you have looked at this |\n"
        "| warning | the result may be worse, or less certain, than it seems |\n"
        "| info | good to know |\n\n"
        "This page is written from the checks themselves (`cutler.checks.markdown()`).\n"
    )
    entries = (
        f"\n## {each.code} {each.title}\n\n*{each.severity}* · {each.meaning}\n\n**What to do.** {each.remedy}\n"
        for each in catalogue()
    )
    return head + "".join(entries)
