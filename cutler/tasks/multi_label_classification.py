"""Any number of labels for a text."""

from __future__ import annotations

from typing import ClassVar

from cutler.tasks._base import SeveralLabels


class MultiLabelClassification(SeveralLabels):
    name: ClassVar[str] = "multi_label_classification"
    roles: ClassVar[tuple[str, ...]] = ("text", "labels")
