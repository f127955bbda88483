"""The bytes of a source: opened, unzipped, and checked to be UTF-8 text before anything parses them."""

from __future__ import annotations

import gzip
import io
import sys
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from cutler.errors import DataError

HEAD_BYTES = 65_536
TEXT_FORMATS = "cutler reads csv, tsv, json, jsonl, parquet, conll and Hugging Face data set folders"

# First bytes -> what such a file is, and what to do about it.
MAGIC = {
    b"PK\x03\x04": ("a zip archive or an Excel workbook", "unpack it, or save the sheet as csv"),
    b"\xd0\xcf\x11\xe0": ("an old Excel or Word file", "save the sheet as csv"),
    b"%PDF": ("a PDF document", f"extract its text to a table; {TEXT_FORMATS}"),
    b"SQLite format 3\0": ("an SQLite database", "export the table as csv"),
    b"BZh": ("a bzip2 archive", "unpack it with bunzip2"),
    b"\xfd7zXZ": ("an xz archive", "unpack it with unxz"),
    b"\x28\xb5\x2f\xfd": ("a zstd archive", "unpack it with unzstd"),
    b"ARROW1": ("an Arrow file outside of a data set folder", "save it as parquet, or give the folder it came from"),
    b"\x80\x02": ("a pickle", "cutler opens no pickles, since they can run code; save the data as csv or parquet"),
    b"\x80\x03": ("a pickle", "cutler opens no pickles, since they can run code; save the data as csv or parquet"),
    b"\x80\x04": ("a pickle", "cutler opens no pickles, since they can run code; save the data as csv or parquet"),
    b"\x80\x05": ("a pickle", "cutler opens no pickles, since they can run code; save the data as csv or parquet"),
}
WIDE = {b"\xff\xfe\0\0": "UTF-32", b"\0\0\xfe\xff": "UTF-32", b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16"}


@dataclass(frozen=True)
class Source:
    """A name for messages, and a way of reading its bytes from the start, as often as needed."""

    name: str
    raw: Callable[[], BinaryIO]

    @property
    def head(self) -> bytes:
        try:
            with self.raw() as stream:
                return stream.read(HEAD_BYTES)
        except (OSError, EOFError, zlib.error) as error:
            raise unreadable(self.name, error) from error


def from_path(path: Path) -> Source:
    """The bytes of a file, unzipped where it is gzip."""
    try:
        with path.open("rb") as stream:
            zipped = stream.read(2) == b"\x1f\x8b"
    except OSError as error:
        raise unreadable(str(path), error) from error
    return Source(str(path), lambda: cast(BinaryIO, gzip.open(path) if zipped else path.open("rb")))


def from_standard_input() -> Source:
    """The bytes of standard input, kept in memory so that they can be looked at before they are parsed."""
    found = sys.stdin.buffer.read()
    found = gzip.decompress(found) if found[:2] == b"\x1f\x8b" else found
    return Source("standard input", lambda: io.BytesIO(found))


def unreadable(name: str, error: Exception) -> DataError:
    reason = getattr(error, "strerror", None) or str(error).splitlines()[0] or type(error).__name__
    return DataError("a file that can be read whole", found=f"{name}: {reason.rstrip('.')}",
                     do="check that it may be read, and that it was copied to its end")  # fmt: skip


def no_rows(name: str) -> DataError:
    return DataError(
        "rows", found=f"none in {name}", do="give rows with a text each, and to fit or to evaluate an answer each"
    )


def refuse_binary(source: Source) -> None:
    """Raises DataError where the first bytes are no UTF-8 text, naming what they are."""
    head = source.head
    if not head.strip():
        raise no_rows(source.name)
    for magic, (what, do) in MAGIC.items():
        if head.startswith(magic):
            raise DataError("a table of text rows", found=f"{what}: {source.name}", do=do)
    wide = next((name for bom, name in WIDE.items() if head.startswith(bom)), "")
    if wide or _is_wide(head):
        raise _not_utf8(source.name, f"{wide or 'UTF-16'} text", wide or "UTF-16")
    if b"\0" in head:
        raise _binary(source.name, f"NUL byte at position {head.index(0)}")


def _is_wide(head: bytes) -> bool:
    """Whether every other byte is almost always NUL, as in UTF-16 of western texts without a byte order mark."""
    halves = head[::2], head[1::2]
    return any(half.count(0) > 0.6 * len(half) for half in halves) and any(half.count(0) == 0 for half in halves)


def lines(source: Source) -> Iterator[str]:
    """The lines of UTF-8 text with their ends, without a byte order mark.

    Raises DataError that names line and byte where the text is not UTF-8, or holds a NUL.
    """
    try:
        with source.raw() as stream, io.TextIOWrapper(stream, encoding="utf-8-sig", newline="") as text:
            for number, line in enumerate(text, start=1):
                if "\0" in line:
                    raise _binary(source.name, f"NUL byte in line {number}")
                yield line
    except UnicodeDecodeError as error:
        raise _at_first_bad_byte(source) from error
    except (OSError, EOFError, zlib.error) as error:
        raise unreadable(source.name, error) from error


def _binary(name: str, what: str) -> DataError:
    return DataError("a table of text rows", found=f"{what} of {name}: binary data", do=TEXT_FORMATS)


def _at_first_bad_byte(source: Source) -> DataError:
    position = 0
    with source.raw() as stream:
        for number, line in enumerate(stream, start=1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError as error:
                where = f"byte 0x{line[error.start]:02x} at position {position + error.start:,} (line {number:,})"
                return _not_utf8(source.name, where, "WINDOWS-1252")
            position += len(line)
    return _not_utf8(source.name, "another encoding", "WINDOWS-1252")


def _not_utf8(name: str, what: str, encoding: str) -> DataError:
    return DataError(
        f"UTF-8 in {name}", found=what, do=f"convert it: iconv -f {encoding} -t UTF-8 {name} > converted"
        + ("" if encoding != "WINDOWS-1252" else " (or with the encoding it was saved in)"),
    )  # fmt: skip
