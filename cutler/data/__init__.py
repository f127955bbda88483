"""Files, frames and data sets in, rows by purpose out: `read` a source, `split` it, `write` answers beside its rows."""

from __future__ import annotations

from cutler.data.columns import carried, lacking
from cutler.data.corpora import gathered
from cutler.data.read import read, rows
from cutler.data.roles import keyed, labelled, text_role
from cutler.data.split import split
from cutler.data.write import lines, write

__all__ = ["carried", "gathered", "keyed", "labelled", "lacking", "lines", "read", "rows", "split",
           "text_role", "write"]  # fmt: skip
