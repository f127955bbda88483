"""What a bundle reads and answers, as a client, the page and the OpenAPI schema are told it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cutler.data.chats import PROMPT, ROLES
from cutler.data.roles import WORDS, text_role
from cutler.serve.served import Served

Schema = dict[str, Any]
FEATURES: Mapping[str, Schema] = {
    "number": {"type": ["number", "null"]}, "date": {"type": ["string", "null"]},
    "category": {"type": ["string", "null"]}, "several": {"type": ["array", "null"], "items": {"type": "string"}},
}  # fmt: skip


def facts(served: Served) -> dict[str, Any]:
    """What there is to know of a bundle before it is asked."""
    task, card = served.task, served.bundle.card
    return {
        "name": served.name, "task": task.name, "head": task.head,
        "inputs": [{"role": role, "column": task.columns[role]} for role in task.inputs],
        "features": dict(task.features), "labels": list(served.model.labels), "metric": task.metric,
        "score": card.get("test", {}).get("metrics", {}).get(task.metric, {}).get("value"),
        "model": card.get("pick", {}).get("name", ""), "version": card.get("version", ""),
        "writes": served.writes, "vectors": served.has_vectors, "explains": served.explains,
        "limits_broken": list(served.broken),
    }  # fmt: skip


def row_schema(served: Served, *, lists: bool = True) -> Schema:
    """What a row may be: a text, words or a chat (not without `lists`), or a mapping with what the bundle reads."""
    task, most = served.task, served.limits.max_chars
    alone = [role for role in task.inputs if len(task.inputs) == 1]
    plain = [_input(role, most) if lists else {"type": "string", "maxLength": most} for role in alone]
    named = [_mapping(served, names) for names in _namings(served)]
    return {"anyOf": [*plain, *named]}


def example_row(served: Served) -> Any:
    """A row as it may be sent."""
    task = served.task
    if len(task.inputs) == 1 and not task.features:
        return "a text"
    return {**{role: f"a {role.replace('_', ' ')}" for role in task.inputs}, **dict.fromkeys(task.features)}


def _namings(served: Served) -> list[dict[str, str]]:
    """Role -> name in a mapping: by role, by the training file's column, or, where there is one text, by `text`."""
    roles = served.task.inputs
    found = [{role: role for role in roles}, {role: served.task.columns[role] for role in roles}]
    alone = text_role(served.task)
    return [each for place, each in enumerate([*found, *([{alone: "text"}] if alone else [])])
            if each not in [*found, {alone: "text"}][:place]]  # fmt: skip


def _mapping(served: Served, names: Mapping[str, str]) -> Schema:
    most = served.limits.max_chars
    cells = {name: _input(role, most) for role, name in names.items()}
    features = {name: FEATURES[kind] for name, kind in served.task.features.items()}
    return {"type": "object", "properties": features | cells, "required": list(cells)}


def _input(role: str, most: int) -> Schema:
    text: Schema = {"type": "string", "maxLength": most}
    if role == WORDS:
        return {"anyOf": [text, {"type": "array", "items": {"type": "string"}}]}
    return {"anyOf": [text, CHAT]} if role == PROMPT else text


CHAT: Schema = {  # of one message that is not the assistant's, or of more
    "type": "array", "minItems": 1,
    "anyOf": [{"minItems": 2}, {"items": {"properties": {"role": {"enum": list(ROLES[:2])}}}}],
    "items": {"type": "object", "required": ["role", "content"],
              "properties": {"role": {"enum": list(ROLES)}, "content": {"type": "string"}}},
}  # fmt: skip
