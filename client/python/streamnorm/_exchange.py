"""Merges of moments for several normalizers in one round trip, with memory
that is made once: a training step pays for the call and not for its objects."""

from __future__ import annotations

import threading
from typing import Any, Callable, List, Optional, Sequence

import numpy as np

from ._errors import (Error, InvalidArgument, ShapeMismatch, make_error,
                      number_of)
from ._types import ANSWER, Answer, Statistics

MOST_ENTRIES = 1024  # of one message

# sn_moments of client/c/streamnorm.h, byte for byte.
ENTRY = np.dtype([
    ("normalizer", "<u8"), ("count", "<u8"), ("features", "<u8"),
    ("mean", "<u8"), ("m2", "<u8"), ("feature_counts", "<u8"),
    ("minimum", "<u8"), ("maximum", "<u8"), ("before", "<i4"),
    ("reserved", "<i4"), ("out_mean", "<u8"), ("out_variance", "<u8"),
    ("out_offset", "<u8"), ("out_scale", "<u8"),
    ("answer", f"V{ANSWER.size}"), ("code", "<i4"), ("reason", "S64"),
    ("message", "S1024")], align=True)

OUTPUTS = ("out_mean", "out_variance", "out_offset", "out_scale")


class Exchange:
    """Fill in, `run`, read; again and again.

    Entry i merges `count[i]` rows with mean `mean[i]` and sum of squared
    deviations `m2[i]` into normalizer i, and finds the normalizer's statistics
    in `out_mean[i]`, `out_variance[i]`, `out_offset[i]`, `out_scale[i]`, as
    they are after the merge or, with `before`, as they were before it.

    All are float64 [features]; `count` and `feature_counts[i]` (where made
    `partial`: how many of the rows count for each feature) are uint64,
    `minimum[i]` and `maximum[i]` exist where made with `extremes`. z =
    (x - out_offset) * out_scale. Formula: docs/numerics.md.

    Entries take effect in their order, each exactly once by itself. Not safe
    for concurrent use; several of one client are.
    """

    def __init__(self, names: Sequence[str], features: Sequence[int],
                 run: Callable[["Exchange"], None], *, before: bool = False,
                 extremes: bool = False, partial: bool = False) -> None:
        if not 1 <= len(names) <= MOST_ENTRIES:
            raise InvalidArgument(
                f"merges: {len(names)} entries, want 1 to {MOST_ENTRIES}",
                field="merges")
        self.names = list(names)
        self.features = list(features)
        self._run = run
        self._ids = [name.encode() + b"\0" for name in self.names]
        self.table = np.zeros(len(self.names), ENTRY)
        self.address = self.table.ctypes.data
        self.count: np.ndarray = self.table["count"]
        self._codes = self.table["code"]
        self._no_codes = self._codes.tobytes()
        self._answers = self.table["answer"]
        self._block = [np.zeros((8, n)) for n in self.features]
        self.mean: List[np.ndarray] = self._rows(0, "mean")
        self.m2: List[np.ndarray] = self._rows(1, "m2")
        self.out_mean, self.out_variance, self.out_offset, self.out_scale = (
            self._rows(2 + i, name) for i, name in enumerate(OUTPUTS))
        self.minimum: Optional[List[np.ndarray]] = None
        self.maximum: Optional[List[np.ndarray]] = None
        if extremes:
            self.minimum = self._rows(6, "minimum")
            self.maximum = self._rows(7, "maximum")
        self.feature_counts: Optional[List[np.ndarray]] = None
        if partial:
            self.feature_counts = [np.zeros(n, "<u8") for n in self.features]
            self._point("feature_counts", self.feature_counts)
        self._ids_memory = [np.frombuffer(text, "u1") for text in self._ids]
        self._point("normalizer", self._ids_memory)
        self.table["features"] = self.features
        self.before = before

    def _rows(self, row: int, field: str) -> List[np.ndarray]:
        arrays = [block[row] for block in self._block]
        self._point(field, arrays)
        return arrays

    def _point(self, field: str, arrays: Sequence[np.ndarray]) -> None:
        self.table[field] = [array.ctypes.data for array in arrays]

    @property
    def before(self) -> bool:
        """Statistics as they were before the merge."""
        return bool(self.table["before"][0])

    @before.setter
    def before(self, before: bool) -> None:
        self.table["before"] = before

    def __len__(self) -> int:
        return len(self.names)

    def run(self) -> None:
        """One round trip. If an entry is refused, raises its error after the
        others were merged; `errors` has them all."""
        self._run(self)
        if self._codes.tobytes() != self._no_codes:
            raise next(error for error in self.errors if error is not None)

    @property
    def errors(self) -> List[Optional[Error]]:
        """Why an entry was refused by the last `run`; None: it was not."""
        return [make_error(int(entry["code"]), entry["message"].decode(),
                           entry["reason"].decode()) if entry["code"] else None
                for entry in self.table]

    def set_error(self, i: int, error: Error) -> None:
        entry = self.table[i]
        entry["code"] = number_of(error)
        entry["reason"] = error.reason.encode()
        entry["message"] = str(error).encode()

    def answer(self, i: int = 0) -> Answer:
        """What the server said of entry i."""
        return Answer(*ANSWER.unpack(self._answers[i].tobytes()))

    def statistics(self, i: int = 0) -> Statistics:
        """A copy of what entry i found."""
        mean, variance, offset, scale = self._block[i][2:6].copy()
        return Statistics(mean, variance, offset, scale, self.answer(i))


class ExchangePool:
    """Exchanges of one normalizer, used again: `merge` makes no memory but its
    answer's. Safe for concurrent use."""

    def __init__(self, make: Callable[..., Exchange]) -> None:
        self._make = make
        self._free: Any = {}
        self._lock = threading.Lock()

    def take(self, *key: bool) -> Exchange:
        with self._lock:
            free = self._free.get(key)
            if free:
                return free.pop()
        before, extremes, partial = key
        return self._make(before=before, extremes=extremes, partial=partial)

    def give(self, exchange: Exchange, *key: bool) -> None:
        with self._lock:
            self._free.setdefault(key, []).append(exchange)


def fill_entry(exchange: Exchange, i: int, count: int, mean: Any, m2: Any,
               feature_counts: Any = None, minimum: Any = None,
               maximum: Any = None) -> None:
    """Copies moments in, checked."""
    if count < 1:
        raise InvalidArgument(f"merges[{i}].count: {count}, want at least 1",
                              field=f"merges[{i}].count")
    exchange.count[i] = count
    _fill(exchange.mean, i, mean, "mean")
    _fill(exchange.m2, i, m2, "m2")
    for arrays, values, field in (
            (exchange.feature_counts, feature_counts, "feature_counts"),
            (exchange.minimum, minimum, "minimum"),
            (exchange.maximum, maximum, "maximum")):
        if arrays is not None:
            _fill(arrays, i, values, field)


def _fill(arrays: List[np.ndarray], i: int, values: Any, field: str) -> None:
    target = arrays[i]
    shape = values.shape if type(values) is np.ndarray else np.shape(values)
    if shape != target.shape:
        raise ShapeMismatch(
            f"merges[{i}].{field}: shape {list(shape)}, want "
            f"[{len(target)}]", field=f"merges[{i}].{field}")
    target[:] = values
