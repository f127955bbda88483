"""What was asked of a pretraining run: said no to before anything is spent, and told apart from what else was asked."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from cutler import catalog, registry
from cutler.errors import CheckpointError, OutputError, UsageError, nearest
from cutler.types import Checkpoint, Objective, seconds

ARCHITECTURES = ("encoder", "decoder", "encoder-decoder")
STATE, WORK = "state", "work.json"


@dataclass(frozen=True)
class Asked:
    """The arguments of `pretrain`; see there."""

    sources: tuple[str, ...]
    out: Path
    architecture: str | None = None
    size: str = "tiny"
    budget: str | float = "10m"
    objective: str | None = None
    tokenizer: str | None = None
    vocabulary: int | None = None
    max_tokens: int | None = None
    continue_from: str | None = None
    general: str | None = None
    column: str | None = None
    steps: int | None = None
    seed: int = 0
    parent: Checkpoint | None = field(default=None, compare=False)

    @property
    def state(self) -> Path:
        """Where a run that is not finished keeps what it has."""
        return self.out / STATE

    @property
    def chosen(self) -> Objective:
        """The objective that was named, or the one of the architecture."""
        return registry.objective(str(self.objective))

    def identity(self, digest: str) -> str:
        """A digest of all that decides the result but the time there is; `digest` is that of the corpus."""
        told = {k: v for k, v in asdict(self).items() if k not in ("out", "budget", "steps", "parent", "sources")}
        origin = self.parent.digest if self.parent else ""
        return hashlib.sha256(json.dumps([told, origin, digest], sort_keys=True).encode()).hexdigest()


def checked(asked: Asked) -> Asked:
    """The same with architecture and objective settled.

    Raises UsageError, CheckpointError or OutputError where something cannot be.
    """
    seconds(asked.budget)
    for name, least in (("steps", 1), ("max_tokens", 16), ("seed", 0)):
        value = getattr(asked, name)
        if value is not None and value < least:
            raise UsageError(f"{name} from {least} up", found=str(value), do=f"leave {name} out")
    if asked.architecture is not None and asked.architecture not in ARCHITECTURES:
        do = nearest(asked.architecture, ARCHITECTURES)
        raise UsageError("an architecture", found=repr(asked.architecture), do=do)
    found = _going_on(asked) if asked.continue_from else replace(asked, architecture=asked.architecture or "encoder")
    return replace(found, objective=_objective(found).name, out=_place(found.out))


def _going_on(asked: Asked) -> Asked:
    parent = catalog.find(str(asked.continue_from))
    if asked.architecture not in (None, parent.architecture):
        raise CheckpointError(
            f"a checkpoint of an {asked.architecture} to continue from", found=f"{parent.name}, of "
            f"{parent.architecture}", do="leave --architecture out: it is that of the checkpoint",
        )  # fmt: skip
    if not (Path(parent.path) / "tokenizer.json").is_file():
        raise CheckpointError(
            "a Hugging Face folder to continue from", found=parent.path,
            do="save it with save_pretrained, in full precision",
        )  # fmt: skip
    fixed = {"--tokenizer": asked.tokenizer, "--vocabulary": asked.vocabulary}
    if any(fixed.values()):
        names = " and ".join(name for name, value in fixed.items() if value)
        raise UsageError("the tokenizer of the checkpoint", found=f"{names} beside --continue-from",
                         do=f"leave {names} out: the vectors of its tokens are what is gone on from")  # fmt: skip
    if asked.max_tokens and asked.max_tokens > parent.max_tokens:
        raise UsageError(f"max_tokens up to {parent.max_tokens}, which {parent.name} reads",
                         found=str(asked.max_tokens), do="leave max_tokens out")  # fmt: skip
    return replace(asked, architecture=parent.architecture, parent=parent)


def _objective(asked: Asked) -> Objective:
    known = [each for each in registry.objectives() if each.architecture == asked.architecture]
    if asked.objective is None:
        return known[0]
    found = registry.objective(asked.objective)
    if found.architecture != asked.architecture:
        fitting = ", ".join(each.name for each in known)
        raise UsageError(f"an objective of the architecture {asked.architecture}", found=f"{found.name}, which is of "
                         f"{found.architecture}", do=f"choose one of: {fitting}")  # fmt: skip
    return found


def _place(out: Path) -> Path:
    """`out` as an absolute path. Raises OutputError where something else lies there, or nothing can be written."""
    out = out.expanduser().absolute()
    if out.exists() and not (out.is_dir() and ((out / STATE / WORK).is_file() or not any(out.iterdir()))):
        what = "a finished checkpoint" if (out / "config.json").is_file() else "something else"
        raise OutputError(f"a free place at {out}, or a run there that is not finished", found=what,
                          do="name another place with --out")  # fmt: skip
    try:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=out):
            pass
    except OSError as error:
        raise OutputError(
            f"a place to write to at {out}", found=error.strerror or str(error),
            do="free some space there, change its permissions, or name another --out",
        ) from error  # fmt: skip
    return out


def as_given(sources: str | Path | Sequence[str | Path]) -> tuple[str, ...]:
    """One source or several, as text. Raises UsageError where something is no path."""
    several = [sources] if isinstance(sources, str | Path) else list(sources)
    wrong = next((each for each in several if not isinstance(each, str | Path)), None)
    if wrong is not None:
        raise UsageError("paths of files or folders of text", found=repr(wrong)[:80],
                         do="write the texts to a .txt file, with a blank line between documents")  # fmt: skip
    return tuple(map(str, several))
