"""Arrays on disk that this run and later ones may use: whole or not at all, and checked before they are used.

A run keeps its arrays in a folder of its own. What does not depend on the run, such as a checkpoint's features of
texts, is also kept in the user's cache, by a hard link where both lie on one file system, and is taken from there. The
cache is bounded; what was not used for longest goes first.
"""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cutler import catalog

log = logging.getLogger(__name__)

VARIABLE = "CUTLER_FEATURES_MB"
MOST_MB = 2000.0
"""What the cache holds at most, where the variable says nothing; 0 there turns it off."""
LARGEST = 0.5
"""An array that would take more than this share of the cache is not kept there."""
MAGIC = b"cutler01"
SEAL = 8 + 32 + len(MAGIC)
"""Bytes behind an array: its length, its digest, and what ends every file that is whole."""
CHUNK = 1 << 20
STALE_S = 86_400.0
_CHECKED: dict[Path, tuple[int, int, int]] = {}


@dataclass(frozen=True)
class Entry:
    """An array by its places: `file` in the run's folder, `key` in the cache; None and "" where it is not kept there.

    One that is kept nowhere is never found.
    """

    file: Path | None
    key: str = ""

    def begin(self) -> Path:
        """Where the array may be written in pieces, as .npy, until it is `sealed`."""
        assert self.file is not None
        self.file.parent.mkdir(parents=True, exist_ok=True)
        return self.file.with_suffix(f".{os.getpid()}.partial")

    def array(self) -> np.ndarray | None:
        """The array, mapped into memory, if it is in the run's folder or in the cache."""
        here = _read(self.file) if self.file else None
        if here is not None or not self.key:
            return here
        there = place_of(self.key)
        found = _read(there) if there else None
        if there is None or found is None:
            return None
        _touched(there)
        if self.file:
            self._take(there)
        return found

    def _take(self, there: Path) -> None:
        """Have what the cache holds in the run's folder, too, where it stays though the cache is trimmed."""
        assert self.file is not None
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            _linked(there, self.file)
            _CHECKED[self.file] = _stamp(self.file)
        except OSError as error:  # it can be read where it is
            log.debug("%s stays in the cache alone: %s", there.name, error)

    def keep(self, array: np.ndarray) -> np.ndarray:
        """The array, kept from now on."""
        if self.file is None:
            _offer(array, self.key)
            return array
        partial = self.begin()
        with partial.open("wb") as file:
            np.save(file, array, allow_pickle=False)
        return self.sealed(partial)

    def sealed(self, partial: Path) -> np.ndarray:
        """The array that was written to `partial`, now in its place, and in the cache."""
        assert self.file is not None
        _seal(partial)
        partial.replace(self.file)
        _CHECKED[self.file] = _stamp(self.file)
        if self.key:
            _offer(self.file, self.key)
        found: np.ndarray = np.load(self.file, mmap_mode="r")
        return found

    def made(self, compute: Callable[[], np.ndarray]) -> np.ndarray:
        """The array; where it is not kept yet, as it is computed now."""
        found = self.array()
        return self.keep(np.ascontiguousarray(compute())) if found is None else found


def most_bytes() -> float:
    """What the cache may hold; 0 where it is turned off, or the variable is no number."""
    try:
        return max(float(os.environ.get(VARIABLE) or MOST_MB), 0.0) * 1e6
    except ValueError:
        return 0.0


def folder() -> Path:
    """Where the cache lies."""
    return catalog.cache_folder() / "features"


def place_of(key: str) -> Path | None:
    """The file of a key in the cache; None where there is no cache."""
    return folder() / f"{key}.npy" if key and most_bytes() > 0 else None


def trim(most: float) -> None:
    """Remove what was not used for longest, until the cache holds no more than so many bytes."""
    try:
        held = [(file, file.stat()) for file in folder().glob("*.npy")]
        total = sum(stat.st_size for _, stat in held)
        for file, stat in sorted(held, key=lambda each: each[1].st_atime_ns):
            if total <= most:
                break
            file.unlink(missing_ok=True)
            total -= stat.st_size
        for left in folder().glob("*partial*"):  # by a process that was ended while it wrote
            if time.time() - left.stat().st_mtime > STALE_S:
                shutil.rmtree(left) if left.is_dir() else left.unlink(missing_ok=True)
    except OSError as error:  # another process may be trimming, too
        log.debug("the cache of features could not be trimmed: %s", error)


def _offer(source: Path | np.ndarray, key: str) -> None:
    """Put a sealed file, or an array, into the cache; a cache that cannot be written to is none."""
    place, most = place_of(key), most_bytes()
    size = source.nbytes if isinstance(source, np.ndarray) else source.stat().st_size
    if place is None or size > LARGEST * most:
        return
    try:
        place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)  # features tell much of the texts they are of
        if isinstance(source, np.ndarray):
            _written(source, place)
        else:
            _linked(source, place)
        _touched(place)
        trim(most)
    except OSError as error:
        log.info("features are not kept for later runs: %s", error)


def _written(array: np.ndarray, place: Path) -> None:
    descriptor, name = tempfile.mkstemp(dir=place.parent, suffix=".partial")
    partial = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            np.save(file, array, allow_pickle=False)
        _seal(partial)
        partial.replace(place)
    finally:
        partial.unlink(missing_ok=True)


def _linked(source: Path, place: Path) -> None:
    """The same file at another place: by a hard link, or as a copy that is whole or not there."""
    with tempfile.TemporaryDirectory(dir=place.parent, prefix="partial-") as made:
        partial = Path(made) / place.name
        try:
            os.link(source, partial)
        except OSError:  # another file system, or one without links
            shutil.copyfile(source, partial)
        partial.replace(place)


def _touched(file: Path) -> None:
    """Say that a file was used just now; when it was changed last stays as it is."""
    try:
        os.utime(file, ns=(time.time_ns(), file.stat().st_mtime_ns))
    except OSError as error:  # somebody else's cache can be read all the same
        log.debug("%s: %s", file, error)


def _seal(partial: Path) -> None:
    """Write length and digest behind an array, so that one that was cut or altered is known by it."""
    digest, length = _digest(partial, partial.stat().st_size), partial.stat().st_size
    with partial.open("ab") as file:
        file.write(length.to_bytes(8, "little") + digest + MAGIC)


def _digest(file: Path, length: int) -> bytes:
    found = hashlib.blake2b(digest_size=32)
    with file.open("rb") as opened:
        while length > 0 and (block := opened.read(min(CHUNK, length))):
            found.update(block)
            length -= len(block)
    return found.digest()


def _stamp(file: Path) -> tuple[int, int, int]:
    stat = file.stat()
    return stat.st_ino, stat.st_size, stat.st_mtime_ns


def _read(file: Path) -> np.ndarray | None:
    """The array of a file, mapped into memory; one that is damaged is taken away, with a warning."""
    try:
        stamp = _stamp(file)
        if _CHECKED.get(file) != stamp and not _whole(file):
            log.warning("%s is cut short or altered: it is not used, and computed anew", file.name)
            file.unlink(missing_ok=True)
            return None
        found: np.ndarray = np.load(file, mmap_mode="r")
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        log.warning("%s cannot be read, and is computed anew: %s", file.name, error)
        return None
    _CHECKED[file] = stamp
    return found


def _whole(file: Path) -> bool:
    """Whether the seal of a file is that of what it holds."""
    length = file.stat().st_size - SEAL
    if length < 0:
        return False
    with file.open("rb") as opened:
        opened.seek(length)
        seal = opened.read()
    told, digest, magic = int.from_bytes(seal[:8], "little"), seal[8:40], seal[40:]
    return told == length and magic == MAGIC and digest == _digest(file, length)
