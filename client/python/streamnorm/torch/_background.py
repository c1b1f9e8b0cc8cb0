"""Exchanges beside the training loop: what others counted arrives late, a
worker's own rows at once."""

from __future__ import annotations

import collections
import threading
import weakref
from typing import TYPE_CHECKING, Any, Deque, Dict, List, NamedTuple, Optional

import numpy as np
from torch import Tensor

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


class _Step(NamedTuple):
    number: int
    rows: Dict["Slot", int]
    batch: Tensor  # a copy of the group's


class _Answer(NamedTuple):
    number: int  # of the last step in it
    found: Dict["Slot", Any]


class Background:
    """The thread starts with the first step."""

    def __init__(self, group: "Group") -> None:
        self._group = group
        self._changed = threading.Condition()
        self._unsent: List[_Step] = []
        self._sending = False
        self._in_a_hurry = False
        self._answer: Optional[_Answer] = None
        self._error: Optional[BaseException] = None
        self._thread: Optional[threading.Thread] = None
        # The training thread's: own steps that no answer had yet.
        self._unseen: Deque[_Step] = collections.deque()
        self._number = 0

    def step(self) -> None:
        """Counts the step here at once, and takes over what came."""
        rows = {s: s.forward_rows for s in self._group.slots if s.forward_rows}
        if rows:
            self._number += 1
            step = _Step(self._number, rows, self._group.batch.clone())
            self._submit(step)
            self._unseen.append(step)
            self._group.merge_own(step.rows, step.batch)
        for slot in self._group.slots:
            # (A gradient's averages stay a worker's own.)
            slot.forward_rows = slot.backward_rows = 0
        if self._answer is not None or self._error is not None:
            self._take_over()

    def wait(self) -> None:
        """Until all is sent."""
        with self._changed:
            self._in_a_hurry = True
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._error or not (
                self._unsent or self._sending))
            self._in_a_hurry = False
        self._take_over()

    def _submit(self, step: _Step) -> None:
        with self._changed:
            self._changed.wait_for(
                lambda: len(self._unsent) < MOST_STEPS_BEHIND or self._error)
            self._unsent.append(step)
            if len(self._unsent) >= STEPS_TOGETHER:
                self._changed.notify_all()
        if self._thread is None:
            self._thread = threading.Thread(
                target=_run, args=(weakref.ref(self),), daemon=True,
                name="streamnorm.torch")
            self._thread.start()

    def _take_over(self) -> None:
        with self._changed:
            answer, self._answer = self._answer, None
            error, self._error = self._error, None
        if error is not None:
            raise error
        if answer is None:
            return
        for slot, (said, mean, variance) in answer.found.items():
            slot.take_statistics(said.row_count, said.revision, mean, variance)
        while self._unseen and self._unseen[0].number <= answer.number:
            self._unseen.popleft()
        for step in self._unseen:
            self._group.merge_own(step.rows, step.batch)

    # The thread.

    def send_next(self) -> None:
        """Once there are enough, or some have waited for long enough."""
        with self._changed:
            self._changed.wait_for(
                lambda: len(self._unsent) >= STEPS_TOGETHER or
                self._in_a_hurry, timeout=LONGEST_WAIT_S)
            steps, self._unsent = self._unsent, []
            self._sending = bool(steps)
        if not steps:
            return
        try:
            answer = _Answer(steps[-1].number, self._send(steps))
            with self._changed:
                if self._answer is not None:
                    answer.found.update({
                        slot: found
                        for slot, found in self._answer.found.items()
                        if slot not in answer.found})
                self._answer = answer
        except BaseException as error:  # raised where the next step begins
            with self._changed:
                self._error = error
        finally:
            with self._changed:
                self._sending = False
                self._changed.notify_all()

    def _send(self, steps: List[_Step]) -> Dict["Slot", Any]:
        totals: Dict["Slot", Any] = {}
        for step in steps:
            batch = step.batch.cpu().numpy().astype(np.float64)
            begin = 0
            for slot in self._group.slots:
                part = batch[:, begin:begin + slot.features]
                begin += slot.features
                if slot in step.rows:
                    totals[slot] = _together(
                        totals.get(slot), (step.rows[slot], *part))
        exchange = self._group.exchange_of(list(totals), [])
        for i, (rows, mean, variance) in enumerate(totals.values()):
            exchange.count[i] = rows
            exchange.mean[i][:] = mean
            np.multiply(variance, float(rows), out=exchange.m2[i])
        exchange.run()
        return {slot: (exchange.answer(i), exchange.out_mean[i].copy(),
                       exchange.out_variance[i].copy())
                for i, slot in enumerate(totals)}


def _together(total: Any, part: Any) -> Any:
    """Rows, mean and variance of both."""
    if total is None:
        return part
    before, mean_before, variance_before = total
    rows, mean, variance = part
    share = rows / (before + rows)
    difference = mean - mean_before
    return (before + rows, mean_before + share * difference,
            variance_before + share * (variance - variance_before +
                                       (1 - share) * difference ** 2))


def _run(reference: "weakref.ref[Background]") -> None:
    while True:
        background = reference()
        if background is None:
            return
        background.send_next()
        del background
