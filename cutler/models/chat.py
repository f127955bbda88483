"""How an instruct checkpoint wants to be spoken to: its chat template, read and filled in without transformers."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NoReturn

from jinja2 import TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from cutler.data.chats import ROLES, Message
from cutler.errors import CheckpointError, UsageError, nearest

DAY = datetime(2024, 7, 26)
"""The day that templates are told who ask for it: what a model answers must not depend on when it is asked."""


class Chat:
    """`template` is Jinja, as checkpoints carry it, run in a sandbox; "" for a checkpoint that knows no chat.

    `named` are the special tokens by the name that templates call them, such as `bos_token`.
    """

    def __init__(self, template: str, named: Mapping[str, str]) -> None:
        self.template, self.named = template, dict(named)
        scene = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True,
                                              extensions=["jinja2.ext.loopcontrols"])  # fmt: skip
        scene.globals |= {"raise_exception": _refuse, "strftime_now": DAY.strftime}
        self._filled = scene.from_string(template)

    @property
    def end(self) -> str:
        """The token that ends an answer, or "" where none is known."""
        return self.named.get("eos_token", "")

    def render(self, messages: Sequence[Message], *, reply: bool = True) -> str:
        """The conversation as one text, up to where the next answer begins; without `reply`, up to its own end.

        Raises UsageError of a role that is unknown or that the template does not take.
        """
        for message in messages:
            if message.get("role") not in ROLES:
                role = str(message.get("role"))
                raise UsageError(f"a role out of {', '.join(ROLES)}", found=repr(role), do=nearest(role, ROLES))
        if not self.template:
            return _plain(messages, end=self.end, reply=reply)
        try:
            return self._filled.render(messages=list(messages), add_generation_prompt=reply, **self.named)
        except TemplateError as error:
            raise UsageError(
                "messages that the checkpoint's chat template takes", found=str(error)[:200],
                do="begin with a user's message, let user and assistant take turns, or leave out the system's",
            ) from error  # fmt: skip

    def framed(self, messages: Sequence[Message]) -> str:
        """As `render`; what a system says stands before the first text where the template has no room for it."""
        try:
            return self.render(messages)
        except UsageError:
            if messages[0].get("role") != "system" or len(messages) < 2:
                raise
            system, first, *rest = messages
            return self.render([{**first, "content": f"{system['content']}\n\n{first['content']}"}, *rest])

    def as_json(self) -> dict[str, Any]:
        return {"template": self.template, "named": self.named}


def chat_of(folder: Path) -> Chat:
    """The chat of a Hugging Face folder. Raises CheckpointError where its tokenizer's config cannot be read."""
    file, template = folder / "tokenizer_config.json", folder / "chat_template.jinja"
    try:
        config = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    except ValueError as error:
        raise CheckpointError(f"a readable {file}", found=str(error), do="save the tokenizer again") from error
    found = template.read_text(encoding="utf-8") if template.is_file() else config.get("chat_template") or ""
    if isinstance(found, list):  # several by name
        found = next((each["template"] for each in found if each.get("name") == "default"), "")
    tokens = {name: value for name, value in config.items() if name.endswith("_token")}
    named = {name: value["content"] if isinstance(value, dict) else value
             for name, value in tokens.items() if isinstance(value, str | dict)}  # fmt: skip
    return Chat(found, named)


def _plain(messages: Sequence[Message], *, end: str, reply: bool) -> str:
    """For a checkpoint without a template: paragraphs, an answer after its question; nothing stands after the last."""
    parts = [message["content"] + (end if message["role"] == "assistant" else "") for message in messages]
    return "\n".join(parts) + ("\n" if reply else "")


def _refuse(message: str) -> NoReturn:
    raise TemplateError(message)
