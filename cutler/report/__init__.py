"""The model card: one page that shows the answer and the evidence, the same shortly in Markdown, and as JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path, PurePath
from typing import Any

import jinja2
import markupsafe

from cutler.report import facts, figures, foreseen, growth, sentences, view, words
from cutler.types import Evidence, Finding, Record, Span

__all__ = ["render"]

HERE = Path(__file__).parent
MARKS = re.compile(r"([\\`*_\[\]|<>#~])")
UNQUOTED = re.compile(r"[\s`\"'<>|&;$]+")  # what a name in a shell or in Python would need quotes for
INDENT = 1
SHOWN_COLUMNS = 5


def render(record: Record, evidence: Evidence, findings: Sequence[Finding], *, bundle: str = "") -> dict[str, str]:
    """The card as `card.html`, `card.md` and `card.json`.

    The page stands alone: no script, and nothing that a browser would fetch. `bundle` is the folder's name in the
    examples of use; left out, it is that of the source.
    """
    told = facts.as_json(record, evidence, findings)
    shown = _shown(record, evidence, findings)
    named = bundle or f"{PurePath(facts.source_name(record)).stem}.cutler"
    shown["bundle"] = UNQUOTED.sub("-", named)
    return {
        "card.html": _templates().get_template("card.html").render(shown),
        "card.md": _templates().get_template("card.md").render(shown),
        "card.json": json.dumps(told, indent=INDENT, ensure_ascii=False, allow_nan=False) + "\n",
    }


def _shown(record: Record, evidence: Evidence, findings: Sequence[Finding]) -> dict[str, Any]:
    return {
        "record": record,
        "evidence": evidence,
        "findings": findings,
        "source": facts.source_name(record),
        "pipeline": facts.pipeline(record),
        "entries": view.leaderboard(record),
        "bars": view.against_floor(record, evidence),
        "labels": view.labels(evidence),
        "pairs": view.mixed_up(evidence),
        "matrix": view.matrix(evidence),
        "foreseen": foreseen.table(record),
        "estimates_kept": foreseen.sentence(record.trials),
        "sure": sentences.sure(record),
        "growth": growth.figure(record),
        "grown": growth.sentences(record),
        "clues": view.clues(record),
        "limits": view.limits(record),
        "stages": _parts(record.seconds),
        "classes": _parts(dict(sorted(record.profile.classes.items(), key=lambda item: -item[1]))),
        "licences": sorted({each.licence.lower() for each in record.picked_checkpoints if each.licence}),
        "headline": sentences.headline(record, evidence),
        "lead": sentences.lead(record, evidence),
        "limits_words": sentences.limits(record),
        "calibrated": sentences.calibrated(record),
        "learned": sentences.learned(record),
        "example": _example(record),
        "view": view,
    } | _drawn(record)


def _example(record: Record) -> str:
    """A row to predict, as Python spells it: a text, or a mapping where it has other columns."""
    columns = [*list(record.columns.values())[:-1], *list(record.profile.columns)[:SHOWN_COLUMNS]]
    alone = len(columns) < 2 and not record.profile.columns
    return '"your text"' if alone else json.dumps({column: "…" for column in columns}, ensure_ascii=False)


def _drawn(record: Record) -> dict[str, Any]:
    spread = record.profile.target_std
    chart = figures.chart(record.trials, record.constraints, metric=record.metric, deviation=spread)
    return {"chart": chart, "marks": view.marks(record, chart), "natural": figures.natural}


def _parts(amounts: Mapping[str, float]) -> list[tuple[str, float, float]]:
    """Name, amount, and share of the whole as per cent."""
    return list(zip(amounts, amounts.values(), figures.shares(list(amounts.values())), strict=True))


@cache
def _templates() -> jinja2.Environment:
    found = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE),
        autoescape=jinja2.select_autoescape(["html"]),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for name in ("metric_name", "value", "bounds", "gain", "span", "number", "milliseconds", "megabytes", "duration"):
        found.filters[name] = getattr(words, name)
    found.tests["share"] = words.is_share
    found.filters |= {"code_spans": _code_spans, "told": _told, "md": _md, "quoted": json.dumps}
    return found


def _told(answer: Any) -> str:
    """A target or answer in words: labels side by side, spans with theirs, numbers short."""
    if isinstance(answer, float):
        return words.number(answer)
    if isinstance(answer, str | int):
        return str(answer)
    return ", ".join(f"{each.text}: {each.label}" if isinstance(each, Span) else each for each in answer) or "none"


def _code_spans(text: str) -> markupsafe.Markup:
    """Escaped text in which `what stands in backticks` is set as code."""
    parts = [markupsafe.escape(part) for part in text.split("`")]
    joined = "".join(f"<code>{part}</code>" if number % 2 else part for number, part in enumerate(parts))
    return markupsafe.Markup(joined)  # every part was escaped above


def _md(text: Any) -> str:
    """Text that Markdown and the HTML within it leave as it is, in one line."""
    plain = str(text).replace("&", "&amp;")
    return " ".join(MARKS.sub(r"\\\1", plain).replace("\\<", "&lt;").replace("\\>", "&gt;").split())
