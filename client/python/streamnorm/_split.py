"""More rows than a message may have."""

from __future__ import annotations

from typing import Any, Callable, List, Optional

import numpy as np

from ._errors import InvalidArgument, ShapeMismatch
from ._rows import Rows
from ._types import BF16, Answer, Mode

# Of a request and of an answer, besides the rows.
OVERHEAD_BYTES = 768
SKIP, REJECT = 1, 2


class Splitter:
    """Splits rows as the normalizer's rule for NaN and infinity allows."""

    def __init__(self, nonfinite: Any) -> None:
        self._rejects_nan = nonfinite.nan == REJECT
        self._rejects_infinity = nonfinite.infinity != SKIP

    @staticmethod
    def fits(rows: np.ndarray, most_bytes: int) -> bool:
        return rows.nbytes + OVERHEAD_BYTES <= most_bytes

    @staticmethod
    def parts(rows: np.ndarray, most_bytes: int) -> List[slice]:
        row_bytes = rows.shape[1] * rows.itemsize
        step = (most_bytes - OVERHEAD_BYTES) // row_bytes
        if step < 1:
            raise ShapeMismatch(
                f"input: a row of {row_bytes} bytes, want at most "
                f"{most_bytes - OVERHEAD_BYTES}", field="input",
                hint="raise the server's --max_message_bytes")
        return [slice(begin, begin + step)
                for begin in range(0, len(rows), step)]

    def run(self, send: Callable[..., Answer], mode: Mode, rows: Rows,
            output: Optional[np.ndarray], most_bytes: int) -> Answer:
        """In several messages, with the answer that one would have: all rows
        are counted before the first is normalized, or after the last."""
        if mode != Mode.NORMALIZE_ONLY:
            self._check(rows)
        rounds = {
            Mode.UPDATE_THEN_NORMALIZE: [Mode.UPDATE_ONLY,
                                         Mode.NORMALIZE_ONLY],
            Mode.NORMALIZE_THEN_UPDATE: [Mode.NORMALIZE_ONLY,
                                         Mode.UPDATE_ONLY],
        }.get(mode, [mode])
        answers = []
        for each in rounds:
            for part in self.parts(rows.array, most_bytes):
                answers.append(send(
                    each, rows.datatype, rows.array[part],
                    None if each == Mode.UPDATE_ONLY or output is None
                    else output[part]))
        return _summed(answers)

    def _check(self, rows: Rows) -> None:
        """What the server would refuse in a later part is refused before the
        first one is counted."""
        if rows.datatype == BF16:
            size = rows.array & 0x7FFF
            nan, infinite = size > 0x7F80, size == 0x7F80
        else:
            nan, infinite = np.isnan(rows.array), np.isinf(rows.array)
        for refused, found, got in [
                (self._rejects_nan, nan, "NaN, want a number"),
                (self._rejects_infinity, infinite,
                 "infinity, want a finite value")]:
            if refused and found.any():
                row, column = np.argwhere(found)[0]
                field = f"input[{row}][{column}]"
                raise InvalidArgument(
                    f"{field}: {got} (the normalizer's rule is REJECT)",
                    reason="INVALID_ARGUMENT", field=field)


def _summed(answers: List[Answer]) -> Answer:
    return answers[-1]._replace(
        counted_rows=sum(a.counted_rows for a in answers),
        durable_sequence=max(a.durable_sequence for a in answers),
        nonfinite_values=max(sum(a.nonfinite_values for a in answers
                                 if a.counted_rows), 0),
        clipped_values=sum(a.clipped_values for a in answers))
