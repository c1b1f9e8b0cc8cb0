"""Batches that are normalized ahead of who uses them."""

from __future__ import annotations

import collections
from typing import TYPE_CHECKING, Any, Deque, Iterable, Iterator, Optional

import numpy as np

from ._errors import InvalidArgument
from ._rows import take_rows
from ._types import Mode, ModeLike, Pending

if TYPE_CHECKING:
    from ._normalizer import Normalizer


def normalize_iter(normalizer: "Normalizer", batches: Iterable[Any],
                   ahead: int, mode: Optional[ModeLike],
                   field: Any) -> Iterator[Any]:
    if ahead < 1:
        raise InvalidArgument(f"ahead: {ahead}, want at least 1",
                              field="ahead")
    return _run(normalizer, batches, ahead, mode, field)


def _run(normalizer: "Normalizer", batches: Iterable[Any], ahead: int,
         mode: Optional[ModeLike], field: Any) -> Iterator[Any]:
    waiting: Deque[_Batch] = collections.deque()
    try:
        for batch in batches:
            waiting.append(_Batch(normalizer, batch, mode, field))
            if len(waiting) > ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        # Who stops early leaves nothing on the wire.
        for batch in waiting:
            batch.wait()


class _Batch:
    """One that was submitted."""

    def __init__(self, normalizer: "Normalizer", batch: Any,
                 mode: Optional[ModeLike], field: Any) -> None:
        if field is None and isinstance(batch, (tuple, list)):
            field = 0
        self._batch = batch
        self._field = field
        self._client = normalizer._client
        x = batch if field is None else batch[field]
        self._rows = take_rows(x, normalizer._columns)
        chosen = normalizer._mode_of(mode)
        most = self._client.max_message_bytes
        if normalizer._splitter.fits(self._rows.array, most):
            self._submit(normalizer, chosen)
        else:
            self._pending = Pending(None)
            self._pending.output, self._pending.answer = normalizer._send(
                self._rows, chosen)

    def _submit(self, normalizer: "Normalizer", mode: Mode) -> None:
        rows = self._rows
        output = (None if mode == Mode.UPDATE_ONLY
                  else np.empty_like(rows.array))
        with self._client._lock:
            self._session = self._client._updating()
            self._pending = self._session.submit(
                normalizer.target, mode, rows.datatype, rows.array, output)

    def wait(self) -> None:
        while not self._pending.done:
            with self._client._lock:
                if not self._pending.done:
                    self._session.receive()

    def result(self) -> Any:
        self.wait()
        if self._pending.error is not None:
            raise self._pending.error
        output = self._pending.output
        z = None if output is None else self._rows.rebuild(output)
        if self._field is None:
            return z
        if isinstance(self._batch, dict):
            return {**self._batch, self._field: z}
        parts = list(self._batch)
        parts[self._field] = z
        if hasattr(self._batch, "_fields"):  # a named tuple
            return type(self._batch)(*parts)
        return type(self._batch)(parts)
