"""The card of a checkpoint that was pretrained here: what it read, how well it foresees, what it is for."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import jinja2

from cutler.types import without_nan

HERE = Path(__file__).parent
WIDTH, HEIGHT, EDGE = 640.0, 220.0, 46.0
FOR = {
    "encoder": "It reads in both directions: start from it to classify texts, tag words or embed. It writes nothing.",
    "decoder": "It reads and writes from left to right: start from it to generate text.",
    "encoder-decoder": "It reads a text and then writes one: start from it to translate, summarise or rewrite.",
}
FORESEES = {
    "masked_lm": "perplexity of hidden tokens (15 % hidden, whole words)",
    "causal_lm": "perplexity of the next token",
    "span_denoising": "perplexity of tokens in spans taken out",
}


def render(card: Mapping[str, Any]) -> dict[str, str]:
    """The card as `card.html`, `card.md` and `card.json`; `card` is what the last one holds."""
    told = without_nan(card)
    shown = {"card": told, "headline": headline(card), "purpose": FOR[card["architecture"]],
             "measure": FORESEES.get(card["objective"], "perplexity"), "changes": changes(card),
             "curve": curve(card["perplexity"]["curve"]), "width": WIDTH, "height": HEIGHT}  # fmt: skip
    return {
        "card.html": _templates().get_template("pretraining.html").render(shown),
        "card.md": _templates().get_template("pretraining.md").render(shown),
        "card.json": json.dumps(told, indent=1, ensure_ascii=False, allow_nan=False) + "\n",
    }


def headline(card: Mapping[str, Any]) -> str:
    """What was made of what, in a sentence."""
    network = card["network"]
    size = f"{network['parameters'] / 1e6:.1f} million parameters"
    if card["parent"]:
        return f"{card['parent']}, pretrained further on {listed(card['text']['sources'])} ({size})"
    return f"An {card['architecture']} of {size}".replace("An d", "A d") + \
        f", pretrained from nothing on {listed(card['text']['sources'])}"  # fmt: skip


def listed(names: Sequence[str]) -> str:
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")


def changes(card: Mapping[str, Any]) -> list[str]:
    """What the perplexity was and became, of the domain and of general text."""
    before, after = card["perplexity"]["before"], card["perplexity"]["after"]
    if not before:
        return [f"On held-out text its perplexity is {after['held_out']:,.1f}; guessing evenly among all pieces would "
                f"make it {card['perplexity']['uniform']:,.0f}."]  # fmt: skip
    told = [f"On held-out text of the domain its perplexity went from {before['held_out']:,.1f} to "
            f"{after['held_out']:,.1f} ({_percent(before['held_out'], after['held_out'])})."]  # fmt: skip
    if "general" in before:
        ratio = after["general"] / before["general"]
        what = "what it forgot" if ratio > 1 else "nothing was forgotten"
        told.append(f"On general text ({card['general']}) it went from {before['general']:,.1f} to "
                    f"{after['general']:,.1f} ({_percent(before['general'], after['general'])}): {what}.")  # fmt: skip
    if card["plan"]["head_steps"]:
        told.append(f"The checkpoint came without a language-model head; one was fitted on the frozen body first, in "
                    f"{card['plan']['head_steps']:,} steps, and perplexities count from there.")  # fmt: skip
    return told


def _percent(before: float, after: float) -> str:
    return f"{100 * (after / before - 1):+.1f} %"


def curve(points: Sequence[Sequence[float]]) -> dict[str, Any]:
    """Places of the points in the drawing, perplexity on a logarithmic axis, and the words at its ends."""
    if not points:
        return {}
    steps, heights = [step for step, _ in points], [math.log(max(value, 1e-9)) for _, value in points]
    low, high = min(heights), max(heights)
    placed = [
        (EDGE + (WIDTH - 2 * EDGE) * step / max(steps), EDGE / 2 + (HEIGHT - 1.5 * EDGE)
         * ((high - height) / (high - low) if high > low else 0.5))
        for step, height in zip(steps, heights, strict=True)
    ]  # fmt: skip
    return {"points": [(round(x, 1), round(y, 1)) for x, y in placed], "first": points[0][1], "last": points[-1][1],
            "steps": int(max(steps))}  # fmt: skip


@cache
def _templates() -> jinja2.Environment:
    found = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE), autoescape=jinja2.select_autoescape(["html"]),
        undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    found.filters |= {"grouped": lambda number: f"{number:,.0f}", "listed": listed}
    return found
