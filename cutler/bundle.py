"""A model, its card and a manifest with digests, in one folder that is written whole or not at all."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError

from cutler import __version__, data, evaluate, models, registry
from cutler.data import chats
from cutler.errors import BundleError, CutlerError, DataError, OutputError, UsageError
from cutler.measure import NOT_READ, TRAINED, WEIGHTS, trained
from cutler.models.base import Fitted, Stored
from cutler.models.finder import Finder
from cutler.types import COLUMNS, Answer, Row, SetAside, Task, rows_of, without_nan

FORMAT = 1
MANIFEST = "manifest.json"
PARTS = ("format", "version", "task", "columns", "metric", "files")
log = logging.getLogger(__name__)
_WARNED: set[Path] = set()
ROWS = "rows.jsonl"
"""A sample of the training rows, which `fine_tune` rehearses; not there under --no-examples."""


@dataclass(frozen=True)
class Bundle:
    """A fitted model as it lies on disk, ready to answer."""

    folder: Path
    task: Task
    model: Stored

    @property
    def labels(self) -> tuple[str, ...]:
        return self.model.labels

    @cached_property
    def card(self) -> dict[str, Any]:
        """What card.json holds."""
        found: dict[str, Any] = json.loads((self.folder / "card.json").read_text(encoding="utf-8"))
        return found

    def predict(self, rows: Sequence[Row | str]) -> list[Answer]:
        """One answer each, in order; rows are texts, or mappings keyed by role or by the training file's columns.

        Where words are tagged a row may also be a list of words.
        """
        return self.model.predict(self.keyed(rows))

    def scores(self, rows: Sequence[Row | str]) -> np.ndarray:
        """(rows, labels) raw scores; where words are tagged (words, labels), all rows end to end."""
        if not rows:
            return np.zeros((0, max(len(self.labels), 1)), dtype=np.float32)
        return self.model.scores(self.keyed(rows))

    def probabilities(self, rows: Sequence[Row | str]) -> np.ndarray:
        """Calibrated probabilities of the shape of `scores`, in the order of `labels`; NaN for numbers.

        Raises UsageError of a model that answers without scores.
        """
        scores = self.scores(rows)
        return self.model.decision.probabilities(scores) if isinstance(self.model, Fitted) else scores

    def found(self, rows: Sequence[Row | str], count: int) -> list[list[tuple[str, float, str | None]]]:
        """For each row the id, the nearness and the text (None under --no-examples) of the `count` nearest documents.

        Raises UsageError of a model that finds no documents.
        """
        if not isinstance(self.model, Finder):
            raise UsageError("a bundle that finds documents", found=self.task.name, do="use predict")
        queries = [row[self.task.inputs[0]] for row in self.keyed(rows)]
        return [[(name, near, self.model.text_of(name)) for name, near in each]
                for each in self.model.best(queries, count)]  # fmt: skip

    def evaluate(self, source: Any, *, seed: int = 0) -> dict[str, Any]:
        """The metrics of labelled rows, and what stands out among these.

        {"metrics": {name: {value, low, high}}, "rows": count, "set_aside": count, "unknown_labels": {label: rows}}:
        labels that the model does not know it cannot answer, and every such row counts as wrong.
        """
        table = data.gathered(data.read(source), self.task)
        found = [row for part in table.parts.values() for row in part]
        rows, aside = data.labelled(found, self.task, part="data")
        if not rows:
            raise unlabelled(self.task, aside)
        measured = evaluate.on_rows(self.model, self.task, rows, seed)
        values = {name: asdict(interval) for name, interval in measured.items()}
        unknown = Counter(label for row in rows for label in self.task.labels(row) if label not in self.labels)
        return {"metrics": without_nan(values), "rows": len(rows), "set_aside": len(aside),
                "unknown_labels": dict(sorted(unknown.items()))}  # fmt: skip

    @property
    def has_rows(self) -> bool:
        """Whether a sample of the training rows lies in the bundle."""
        return (self.folder / ROWS).is_file()

    @property
    def has_weights(self) -> bool:
        """Whether what further training needs lies in the bundle."""
        model = self.folder / "model"
        return (self.folder / TRAINED).is_dir() or bool(trained(model)) or any(model.rglob(WEIGHTS))

    def kept_rows(self) -> list[Row]:
        """The sample of training rows, keyed by role; empty where none was kept."""
        file = self.folder / ROWS
        return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()] if file.is_file() else []

    def keyed(self, rows: Sequence[Row | str]) -> list[Row]:
        """Rows keyed by role, as the model reads them. Raises UsageError where one lacks an input."""
        columns = {role: self.task.columns[role] for role in self.task.inputs}
        self._warn_of_lacking(rows)
        if role := data.text_role(self.task):
            rows = [_renamed(row, role, columns[role]) for row in rows]
        if chats.PROMPT in columns:
            rows = [_asked(row, columns[chats.PROMPT]) for row in rows]
        keyed = [
            {role: row[column] for role, column in columns.items()} | data.carried(row, self.task)
            if isinstance(row, Mapping) and all(column in row for column in columns.values())
            else {**row, **data.carried(row, self.task)} if isinstance(row, Mapping) else row
            for row in rows
        ]  # fmt: skip
        return rows_of(keyed, self.task.inputs)

    def _warn_of_lacking(self, rows: Sequence[Row | str]) -> None:
        """Says once of a bundle which columns it reads and is not given."""
        if not rows or not self.model.reads_columns or self.folder in _WARNED:
            return
        row = rows[0] if isinstance(rows[0], Mapping) else {}
        missing = data.lacking(row, self.task)
        if missing and not row.get(COLUMNS):
            _WARNED.add(self.folder)
            log.warning("this model also reads %s, which the rows lack: answers without them are worse",
                        ", ".join(missing))  # fmt: skip


def _renamed(row: Row | str, role: str, column: str) -> Row | str:
    """The row with its `text` under the role, where it has neither that nor the column."""
    called = isinstance(row, Mapping) and "text" in row and not {role, column} & set(row)
    return {**row, role: row["text"]} if isinstance(row, Mapping) and called else row


def _asked(row: Any, column: str) -> Any:
    """The row with a chat in it as a prompt. Raises UsageError where what is meant as a chat is none."""
    name = column if isinstance(row, Mapping) and column in row else chats.PROMPT
    given = row.get(name) if isinstance(row, Mapping) else row
    if (isinstance(given, list | tuple) or chats.is_chat(given)) and (why := chats.why_not(given)):
        raise UsageError(f"a chat of messages of {', '.join(chats.ROLES)}", found=why,
                         do='write it like [{"role": "user", "content": "hello"}]')  # fmt: skip
    asked = chats.as_prompt(given)
    return {**row, name: asked} if isinstance(row, Mapping) else asked


def read(folder: Path | str) -> Bundle:
    """The bundle in `folder`, each file compared with its digest.

    Raises BundleError where it is none, where a file is missing, added or changed, or its format is not known here.
    """
    folder = Path(folder)
    manifest = _manifest(folder)
    _refuse_changed(folder, manifest["files"])
    kind, features = registry.task(manifest["task"]), manifest.get("features", {})
    task = kind(manifest["columns"], metric=manifest["metric"], features=features)
    try:
        return Bundle(folder, task, models.load(folder / "model"))
    except CutlerError:
        raise
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise BundleError(
            f"a model that can be read in {folder / 'model'}", found=f"{type(error).__name__}: {error}",
            do="copy the bundle again, or fit again",
        ) from error  # fmt: skip


def unlabelled(task: Task, aside: Sequence[SetAside]) -> DataError:
    """What to raise where none of some rows can be used."""
    reasons = Counter(row.reason for row in aside).most_common(3)
    wanted = " and ".join(f"{role} under {task.columns[role]!r}" for role in (*task.inputs, task.target))
    found = ", ".join(f"{count} of {len(aside)} rows with {reason}" for reason, count in reasons) or "no rows"
    return DataError(f"labelled rows, with {wanted}", found=found,
                     do="give rows with the columns of the training data")  # fmt: skip


def _drop(model: Path, names: Sequence[str]) -> None:
    """Removes folders of these names from that of a model, at any depth."""
    for path in [path for path in model.rglob("*") if path.is_dir() and path.name in names]:
        shutil.rmtree(path, ignore_errors=True)


def is_bundle(folder: Path) -> bool:
    return (folder / MANIFEST).is_file()


def write(
    out: Path, *, task: Task, model: Path, files: Mapping[str, str], weights: bool, settled: Stored | None = None
) -> Bundle:
    """Put a bundle together beside `out`, then rename it there; an older bundle at that place is replaced.

    `model` is the folder that the model was saved into, `files` name -> text. Where it was `settled` since, that is
    saved over it in the bundle, and the folder stays as it was. Weights for further training lie in a
    folder `transformers` of the model, or of each member of an ensemble that was trained: those of one model come to
    lie at the top of the bundle, those of several stay with their members. Those of small networks stay beside each, in
    a folder `weights`. Raises OutputError where the place cannot be written or the disk is full.
    """
    try:
        staged = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
        try:
            learned = trained(model) if weights else []
            left_out = NOT_READ if not weights else (TRAINED,) if len(learned) == 1 else ()
            shutil.copytree(model, staged / "model", ignore=shutil.ignore_patterns(*left_out))
            if settled is not None:
                settled.save(staged / "model")
                _drop(staged / "model", left_out)
            if len(learned) == 1:
                shutil.copytree(learned[0], staged / TRAINED)
            for name, text in files.items():
                (staged / name).write_text(text, encoding="utf-8")
            _seal(staged, task)
            _put(staged, out)
        finally:
            shutil.rmtree(staged, ignore_errors=True)
    except OSError as error:
        raise _unwritable(out, error) from error
    return read(out)


def prepare(out: Path) -> Path:
    """`out` as an absolute path, refused before anything is spent where a bundle cannot be written there.

    Raises OutputError where the parent is missing or cannot be written, or something else stands at that place.
    """
    out = out.expanduser().absolute()
    if out.exists() and not (out.is_dir() and (is_bundle(out) or not any(out.iterdir()))):
        what = "a folder that is no bundle" if out.is_dir() else "a file"
        raise OutputError(f"a free place or an older bundle at {out}", found=what, do="name another place with --out")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=out.parent):
            pass
    except OSError as error:
        raise _unwritable(out, error) from error
    return out


@contextmanager
def workplace(out: Path) -> Iterator[Path]:
    """A folder beside `out` for what a search leaves on the way; removed at the end."""
    place = Path(tempfile.mkdtemp(prefix=f".{out.name}.work-", dir=out.parent))
    try:
        yield place
    except OSError as error:
        raise _unwritable(out, error) from error
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _unwritable(out: Path, error: OSError) -> OutputError:
    return OutputError(
        f"a place to write {out.name} to in {out.parent}", found=f"{error.strerror or error}",
        do="free some space there, change its permissions, or name another place with --out",
    )  # fmt: skip


def _seal(folder: Path, task: Task) -> None:
    found = sorted(path for path in folder.rglob("*") if path.is_file())
    manifest = {
        "format": FORMAT, "version": __version__, "task": task.name, "columns": task.columns, "metric": task.metric,
        "features": task.features,
        "files": {path.relative_to(folder).as_posix(): _digest(path) for path in found},
    }  # fmt: skip
    manifest["digest"] = _own_digest(manifest)
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=1, ensure_ascii=False), encoding="utf-8")


def _put(staged: Path, out: Path) -> None:
    for path in (staged, *staged.rglob("*")):  # temporary files are for their owner only, a bundle is for all
        path.chmod(0o755 if path.is_dir() else 0o644)
    if not out.exists():
        staged.rename(out)
        return
    old = Path(tempfile.mkdtemp(prefix=f".{out.name}.old-", dir=out.parent))
    out.rename(old / out.name)
    try:
        staged.rename(out)
    except OSError:
        (old / out.name).rename(out)
        raise
    finally:
        shutil.rmtree(old, ignore_errors=True)


def _manifest(folder: Path) -> dict[str, Any]:
    file = folder / MANIFEST
    if not file.is_file():
        there = "no such folder" if not folder.is_dir() else "a folder without manifest.json"
        raise BundleError(f"a bundle that cutler fit wrote at {folder}", found=there, do="check the path")
    try:
        manifest = json.loads(file.read_text(encoding="utf-8"))
        whole = manifest["digest"] == _own_digest(manifest)
        lacking = [part for part in PARTS if part not in manifest]
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise _changed(folder, f"a manifest that cannot be read ({error})") from error
    if not whole:
        raise _changed(folder, "a manifest that differs from its own digest")
    if lacking:
        raise _changed(folder, f"a manifest without {lacking[0]}")
    if manifest["format"] > FORMAT:
        raise BundleError(
            f"a bundle of format {FORMAT} or older",
            found=f"format {manifest['format']}, of cutler {manifest['version']}",
            do="install that version of cutler or a newer one",
        )  # fmt: skip
    return dict(manifest)


def _refuse_changed(folder: Path, files: Mapping[str, str]) -> None:
    there = {str(path.relative_to(folder).as_posix()) for path in folder.rglob("*") if path.is_file()} - {MANIFEST}
    odd = sorted(there ^ set(files))
    if odd:
        raise _changed(folder, f"{odd[0]} {'added' if odd[0] in there else 'missing'}")
    for name, digest in files.items():
        if _digest(folder / name) != digest:
            raise _changed(folder, f"{name} changed")


def _changed(folder: Path, what: str) -> BundleError:
    return BundleError(
        f"the bundle {folder} as it was written", found=what, do="copy it again from where it was made, or fit again"
    )


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _own_digest(manifest: Mapping[str, Any]) -> str:
    plain = {name: value for name, value in manifest.items() if name != "digest"}
    return hashlib.sha256(json.dumps(plain, sort_keys=True, ensure_ascii=False).encode()).hexdigest()

