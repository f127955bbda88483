"""Tensors of the Open Inference Protocol: as lists in JSON, or as bytes behind it, little-endian and row by row.

Source: the binary tensor data extension of the protocol; an element of BYTES is four bytes of its length, then itself.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from pydantic import Field

from cutler.serve.asked import Body
from cutler.serve.refused import NotRead

BYTES = "BYTES"
NUMBERS = {
    "BOOL": "?", "UINT8": "u1", "UINT16": "<u2", "UINT32": "<u4", "UINT64": "<u8", "INT8": "i1", "INT16": "<i2",
    "INT32": "<i4", "INT64": "<i8", "FP16": "<f2", "FP32": "<f4", "FP64": "<f8",
}  # fmt: skip
SIZE = "binary_data_size"


class Given(Body):
    """A tensor of a request."""

    name: str
    shape: list[int] = Field(min_length=1, max_length=8)
    datatype: str
    parameters: dict[str, Any] = {}
    data: list[Any] | None = None


@dataclass(frozen=True)
class Tensor:
    """A tensor of an answer: strings, or numbers of the `datatype`."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    values: Sequence[Any]

    def told(self, *, binary: bool) -> tuple[dict[str, Any], bytes]:
        """What JSON says of it, and the bytes that stand behind the JSON: none where it holds the values itself."""
        said = {"name": self.name, "datatype": self.datatype, "shape": list(self.shape)}
        if not binary:
            return {**said, "data": list(self.values)}, b""
        spelt = self.datatype == BYTES
        raw = _packed(self.values) if spelt else np.asarray(self.values, NUMBERS[self.datatype]).tobytes()
        return {**said, "parameters": {SIZE: len(raw)}}, raw


def split(body: bytes, header: str | None) -> tuple[bytes, bytes]:
    """The JSON of a body, and what stands behind it. Raises NotRead where the length of the JSON cannot be."""
    if header is None:
        return body, b""
    if not (header.isascii() and header.isdigit()) or len(header) > 12 or int(header) > len(body):
        raise NotRead(f"an Inference-Header-Content-Length up to {len(body)}", found=header[:20],
                      do="send the length of the JSON")  # fmt: skip
    return body[: int(header)], body[int(header) :]


def values_of(tensors: Sequence[Given], behind: bytes) -> dict[str, list[Any]]:
    """The elements of each tensor, by name, in order. Raises NotRead where they are not as the tensor says."""
    found: dict[str, list[Any]] = {}
    for tensor in tensors:
        if tensor.datatype not in (BYTES, *NUMBERS):
            raise NotRead(f"a datatype out of {', '.join((BYTES, *NUMBERS))}", found=repr(tensor.datatype[:20]),
                          do="send the datatype of the data")  # fmt: skip
        size = tensor.parameters.get(SIZE)
        if size is None:
            values = _flat(tensor.data or [], depth=len(tensor.shape))
        else:
            raw, behind = _cut(behind, size, tensor.name)
            values = _unpacked(raw) if tensor.datatype == BYTES else _numbers(raw, tensor)
        if len(values) != _count(tensor):
            raise NotRead(f"{_count(tensor)} elements of {tensor.name[:80]}, as its shape says", found=str(len(values)),
                          do="send a shape that fits the data")  # fmt: skip
        found[tensor.name] = values
    if behind:
        raise NotRead("tensors that take all bytes", found=f"{len(behind)} bytes more", do=f"say the {SIZE} of each")
    return found


def _count(tensor: Given) -> int:
    """How many elements a shape says. Raises NotRead of a shape that is none."""
    if min(tensor.shape) < 0 or sum(size > 1 for size in tensor.shape) > 1:
        raise NotRead("a shape such as [2] or [2, 1]", found=f"{tensor.shape} of {tensor.name[:80]}",
                      do="send one element a row")  # fmt: skip
    return math.prod(tensor.shape)


def _cut(behind: bytes, size: Any, name: str) -> tuple[bytes, bytes]:
    if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size <= len(behind):
        raise NotRead(f"a {SIZE} up to {len(behind)}", found=f"{str(size)[:20]} of {name[:80]}",
                      do="send as many bytes as it says")  # fmt: skip
    return behind[:size], behind[size:]


def _flat(data: Sequence[Any], *, depth: int) -> list[Any]:
    """The elements of lists within lists."""
    found = list(data)
    for _ in range(depth - 1):
        found = [item for each in found for item in (each if isinstance(each, list) else [each])]
    return found


def _numbers(raw: bytes, tensor: Given) -> list[Any]:
    """Raises NotRead of bytes that are no whole number of elements."""
    kind = NUMBERS[tensor.datatype]
    if len(raw) % np.dtype(kind).itemsize:
        raise NotRead(f"whole elements of {tensor.datatype}", found=f"{len(raw)} bytes of {tensor.name[:80]}",
                      do="send the datatype of the data")  # fmt: skip
    found: list[Any] = np.frombuffer(raw, kind).tolist()
    return found


def _packed(values: Sequence[str]) -> bytes:
    return b"".join(struct.pack("<I", len(raw)) + raw for raw in (value.encode("utf-8", "replace") for value in values))


def _unpacked(raw: bytes) -> list[str]:
    """The strings in bytes. Raises NotRead where a length leads beyond the end, or what stands there is no UTF-8."""
    found, start = [], 0
    while start < len(raw):
        (size,) = struct.unpack_from("<I", raw, start) if start + 4 <= len(raw) else (len(raw),)
        end = start + 4 + size
        text = _spelt(raw[start + 4 : end]) if end <= len(raw) else None
        if text is None:
            raise NotRead("strings in UTF-8, each after its length in four bytes", found=f"none at byte {start}",
                          do="serialize them as BYTES, or send them as JSON")  # fmt: skip
        found.append(text)
        start = end
    return found


def _spelt(raw: bytes) -> str | None:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return None


def joined(content: Mapping[str, Any], tensors: Sequence[tuple[dict[str, Any], bytes]]) -> tuple[bytes, int | None]:
    """The body of an answer, and the length of its JSON where bytes stand behind it."""
    said = json.dumps({**content, "outputs": [each for each, _ in tensors]}, ensure_ascii=False, allow_nan=False)
    whole, behind = said.encode("utf-8", "replace"), b"".join(raw for _, raw in tensors)
    binary = any(SIZE in each.get("parameters", {}) for each, _ in tensors)
    return whole + behind, len(whole) if binary else None
