"""Chats: messages of a system, a user and an assistant, and the text that stands for them where a prompt is expected.

A prompt of one message of a user is that message; any other chat is spelt as JSON, which reads back as the messages.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from cutler.data.lists import list_in

SYSTEM, USER, ASSISTANT = "system", "user", "assistant"
ROLES = (SYSTEM, USER, ASSISTANT)
PROMPT = "prompt"
"""The role of rows under which a chat may stand."""

Message = Mapping[str, str]
"""Who says it, under "role", and what, under "content"."""


def is_chat(cell: Any) -> bool:
    """Whether a cell holds messages, or a string that spells them, whoever says them."""
    found = list_in(cell)
    return bool(found) and all(isinstance(item, Mapping) and {"role", "content"} <= set(item) for item in found or ())


def messages_in(cell: Any) -> list[Message]:
    """The messages of a chat; a text that is none is one message of a user."""
    if not is_chat(cell):
        return [{"role": USER, "content": str(cell)}]
    return [{"role": str(item["role"]), "content": _text(item["content"])} for item in list_in(cell) or ()]


def _text(content: Any) -> str:
    """The content, or "" where it is no text; `why_not` says of such a chat that it cannot be read."""
    return content if isinstance(content, str) else ""


def why_not(cell: Any) -> str:
    """Why a list cannot be read as a chat, or ""."""
    if not is_chat(cell):
        return "a list that holds no messages with role and content"
    mute = next((item["content"] for item in list_in(cell) or () if not isinstance(item["content"], str)), "")
    if not isinstance(mute, str):
        return f"a chat with a {type(mute).__name__} for the text of a message"
    strange = sorted({message["role"] for message in messages_in(cell)} - set(ROLES))
    if strange:
        return f"a chat with the role {strange[0]!r}, which is none of {', '.join(ROLES)}"
    return "" if asked(messages_in(cell)) else "a chat without a message of the user"


def asked(messages: Sequence[Message]) -> list[Message]:
    """The messages before the answer: what the assistant says at the very end is the answer, not the prompt."""
    answered = bool(messages) and messages[-1]["role"] == ASSISTANT
    return list(messages[:-1] if answered else messages)


def without_oldest(messages: Sequence[Message]) -> list[Message]:
    """The messages without the first that is not the system's, and without all up to the user's next."""
    said = [place for place, message in enumerate(messages) if message["role"] != SYSTEM]
    start = next((place for place in said[1:] if messages[place]["role"] == USER), len(messages))
    return [message for place, message in enumerate(messages) if place >= start or message["role"] == SYSTEM]


def answer_in(cell: Any) -> str:
    """What the assistant says at the very end of a chat, or ""."""
    messages = messages_in(cell)
    return messages[-1]["content"] if messages[-1]["role"] == ASSISTANT else ""


def as_prompt(cell: Any) -> Any:
    """The prompt in a cell as a text; what is no chat stays as it is."""
    if not is_chat(cell):
        return cell
    messages = asked(messages_in(cell))
    alone = len(messages) == 1 and messages[0]["role"] == USER
    return messages[0]["content"] if alone else json.dumps(messages, ensure_ascii=False)


def as_text(prompt: str) -> str:
    """A prompt for models that know no chats: its messages one below the other, each after who says it."""
    if not is_chat(prompt):
        return prompt
    return "\n".join(f"{message['role']}: {message['content']}" for message in messages_in(prompt))
