"""Exchanges beside the training loop: what others counted arrives late, a
worker's own rows at once."""

from __future__ import annotations

import threading
import weakref
from typing import TYPE_CHECKING, Any, Dict, NamedTuple, Optional

import numpy as np
import torch
from torch import Tensor

from ._function import merge_shared

if TYPE_CHECKING:
    from ._group import Group, Slot

# Steps that travel together: an exchange takes time from the training loop
# too, as Python runs one thread at a time.
STEPS_TOGETHER = 16

# How long fewer wait for more.
LONGEST_WAIT_S = 0.1

# Steps that may wait to be sent; the next one waits for the server. Results
# stay as good with others' rows that late (docs/torch.md).
MOST_STEPS_BEHIND = 64


class Total:
    """Own rows of some steps together. Not thread safe."""

    def __init__(self) -> None:
        self.steps = 0
        self.rows: Dict["Slot", int] = {}
        self.batch = torch.empty(0)  # laid out as the group's

    def add(self, group: "Group", rows: Dict["Slot", int],
            batch: Tensor) -> None:
        self.steps += 1
        if not self.rows:
            self.rows, self.batch = dict(rows), batch.clone()
            return
        shares = {slot: n / (self.rows.get(slot, 0) + n)
                  for slot, n in rows.items()}
        merge_slots(group, shares, batch, self.batch)
        for slot, n in rows.items():
            self.rows[slot] = self.rows.get(slot, 0) + n


def merge_slots(group: "Group", shares: Dict["Slot", float], batch: Tensor,
                into: Tensor) -> None:
    """Merges the slots' parts of `batch` into those of `into`; both are laid
    out as the group's. One call does, where the shares are the same."""
    if len(shares) == len(group.slots) and len(set(shares.values())) == 1:
        merge_shared(into, batch, next(iter(shares.values())))
        return
    for slot, share in shares.items():
        part = slice(slot.begin, slot.begin + slot.features)
        merge_shared(into[:, part], batch[:, part], share)


class _Answer(NamedTuple):
    row_count: int
    revision: int
    mean: np.ndarray
    variance: np.ndarray


class Background:
    """The thread starts with the first step."""

    def __init__(self, group: "Group") -> None:
        self._group = group
        self._changed = threading.Condition()
        self._unsent = Total()
        self._sending = False
        self._in_a_hurry = False
        self._answers: Dict["Slot", _Answer] = {}  # not taken over yet
        self._error: Optional[BaseException] = None
        self._thread: Optional[threading.Thread] = None

    def step(self) -> None:
        """Counts the step here at once, and takes over what came."""
        group = self._group
        rows = {s: s.forward_rows for s in group.slots if s.forward_rows}
        with self._changed:
            if self._error is not None:
                error, self._error = self._error, None
                raise error
            if self._answers:
                self._take_over()
            if rows:
                group.count_own(rows, group.batch)
                self._submit(rows)
        for slot in group.slots:
            # (A gradient's averages stay a worker's own.)
            slot.forward_rows = slot.backward_rows = 0

    def _take_over(self) -> None:
        for slot, answer in self._answers.items():
            slot.take_statistics(answer.row_count, answer.revision,
                                 answer.mean, answer.variance)
        self._answers = {}
        self._changed.notify_all()
        if self._unsent.rows:  # since then
            self._group.count_own(self._unsent.rows, self._unsent.batch)

    def _submit(self, rows: Dict["Slot", int]) -> None:
        if self._unsent.steps >= MOST_STEPS_BEHIND:
            self._changed.wait_for(
                lambda: self._unsent.steps < MOST_STEPS_BEHIND or self._error)
        self._unsent.add(self._group, rows, self._group.batch)
        if self._unsent.steps == STEPS_TOGETHER:
            self._changed.notify_all()
        if self._thread is None:
            self._thread = threading.Thread(
                target=_run, args=(weakref.ref(self),), daemon=True,
                name="streamnorm.torch")
            self._thread.start()

    def wait(self) -> None:
        """Until all is sent."""
        with self._changed:
            self._in_a_hurry = True
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._error or not (
                self._unsent.rows or self._sending))
            self._in_a_hurry = False
        self.step()

    # The thread.

    def send_next(self) -> None:
        """Once there are enough, or some have waited for long enough."""
        with self._changed:
            self._changed.wait_for(
                lambda: self._in_a_hurry or
                self._unsent.steps >= STEPS_TOGETHER, timeout=LONGEST_WAIT_S)
            if self._answers and not self._in_a_hurry:
                # Rows on their way would be in neither what is taken over nor
                # in what is unsent.
                self._changed.wait(LONGEST_WAIT_S)
                return
            total, self._unsent = self._unsent, Total()
            self._sending = bool(total.rows)
            self._changed.notify_all()
        if not total.rows:
            return
        try:
            answers = self._send(total)
            with self._changed:
                self._answers.update(answers)
        except BaseException as error:  # raised where the next step begins
            with self._changed:
                self._error = error
        finally:
            with self._changed:
                self._sending = False
                self._changed.notify_all()

    def _send(self, total: Total) -> Dict["Slot", Any]:
        exchange = self._group.exchange_of(list(total.rows), [])
        batch = total.batch.cpu().numpy()
        for i, (slot, rows) in enumerate(total.rows.items()):
            mean, variance = batch[:, slot.begin:slot.begin + slot.features]
            exchange.count[i] = rows
            exchange.mean[i][:] = mean
            np.multiply(variance, float(rows), out=exchange.m2[i])
        exchange.run()
        answers = {}
        for i, slot in enumerate(total.rows):
            said = exchange.answer(i)
            answers[slot] = _Answer(said.row_count, said.revision,
                                    exchange.out_mean[i].copy(),
                                    exchange.out_variance[i].copy())
        return answers


def _run(reference: "weakref.ref[Background]") -> None:
    while True:
        background = reference()
        if background is None:
            return
        background.send_next()
        del background
