"""The layers of one model that share round trips to their server."""

from __future__ import annotations

import os
from typing import Any, Dict, List, Optional

import numpy as np
import torch
from torch import Tensor

from .._client import Client
from .._exchange import Exchange
from .._normalizer import Normalizer
from ._background import Background, merge_slots

# Averages of a layer's gradient: E[g], E[gy], E[y], E[yy].
AVERAGES = 4


def fraction(rows: int, window: float) -> float:
    """The sum of the weights of `rows` rows: 1 - (1 - 1 / window)^rows."""
    return float(-np.expm1(rows * np.log1p(-1 / window)))


def share_of(rows: int, before: int, window: Optional[float]) -> float:
    """The weight of `rows` rows in the statistics that had `before` rows
    without them; docs/numerics.md, "Windows"."""
    if window is None:
        return rows / (before + rows)
    return fraction(rows, window) / fraction(before + rows, window)


class Slot:
    """One layer's part of its group. Not thread safe."""

    # Views of the group's: mean and variance, and those of the last batch,
    # [2, features]; the gradient's averages likewise, [4, features].
    statistics: Tensor
    batch: Tensor
    averages: Tensor
    batch_averages: Tensor

    # The same as arrays, where they are in the host's memory.
    host_statistics: np.ndarray
    host_batch: np.ndarray
    host_averages: np.ndarray
    host_batch_averages: np.ndarray

    dtype: torch.dtype
    begin: int          # of its columns in those of the group
    rows: int           # in statistics
    revision: int
    forward_rows: int   # in batch, not merged yet
    backward_rows: int  # in batch_averages, likewise
    on_host: bool
    retired: bool       # its layer is gone

    def __init__(self, group: "Group", normalizer: Normalizer,
                 gradients: Optional[Normalizer], window: Optional[float],
                 grad_window: float) -> None:
        self.group = group
        self.dtype = group.dtype
        self.on_host = group.device.type == "cpu"
        self.normalizer = normalizer
        self.gradients = gradients
        self.window = window
        self.grad_window = grad_window
        self.begin = self.rows = self.revision = 0
        self.forward_rows = self.backward_rows = 0
        self.retired = False
        self._shares: Dict[int, float] = {}

    @property
    def features(self) -> int:
        return self.normalizer.features

    def retire(self) -> None:
        self.retired = True

    def begin_forward(self, rows: int) -> None:
        """`batch` is about to be written: a new step, if it was before."""
        if self.forward_rows or self.backward_rows:
            self.group.step()
        self.forward_rows = rows

    def begin_backward(self, rows: int) -> float:
        """`batch_averages` is about to be written; answers its share."""
        self.backward_rows = rows
        share = self._shares.get(rows)
        if share is None:
            share = self._shares[rows] = fraction(rows, self.grad_window)
        return share

    def take_statistics(self, rows: int, revision: int, mean: np.ndarray,
                        variance: np.ndarray) -> None:
        """As the server has them."""
        self.rows = rows
        self.revision = revision
        self.statistics[0].copy_(torch.from_numpy(mean))
        self.statistics[1].copy_(torch.from_numpy(variance))

    def take_averages(self, rows: int, mean: np.ndarray) -> None:
        """The server's mean is debiased, ours starts at zero."""
        weight = fraction(rows, self.grad_window)
        self.averages.copy_(
            torch.from_numpy(mean * weight).view_as(self.averages))


class Group:
    """Layers of one client, element type and device. A step's moments, and
    those of its gradients, travel together when the next step begins, or with
    `flush`. Not thread safe."""

    def __init__(self, client: Client, dtype: torch.dtype,
                 device: torch.device, background: bool, workers: int) -> None:
        self.pid = os.getpid()
        self._client = client
        self.dtype = dtype
        self.device = device
        self.workers = workers
        self.slots: List[Slot] = []
        self.statistics = self.batch = torch.empty(0)
        self._exchanges: Dict[Any, Exchange] = {}
        self._background = Background(self) if background else None

    def add(self, normalizer: Normalizer, gradients: Optional[Normalizer],
            window: Optional[float], grad_window: float) -> Slot:
        self.flush()
        self.slots = [slot for slot in self.slots if not slot.retired]
        slot = Slot(self, normalizer, gradients, window, grad_window)
        self.slots.append(slot)
        self._lay_out()
        pull(slot)
        return slot

    def _lay_out(self) -> None:
        """All slots' statistics side by side, so that they are merged, and
        brought from a GPU, at once."""
        self._exchanges.clear()
        self.statistics = self._side_by_side("statistics", 2)
        self.batch = self._side_by_side("batch", 2)
        for slot in self.slots:
            if not hasattr(slot, "averages"):
                shape = AVERAGES, slot.features
                slot.averages = self._zeros(*shape)
                slot.batch_averages = self._zeros(*shape)
            if slot.on_host:
                for name in ("statistics", "batch", "averages",
                             "batch_averages"):
                    setattr(slot, "host_" + name, getattr(slot, name).numpy())

    def _side_by_side(self, name: str, height: int) -> Tensor:
        whole = self._zeros(height, sum(slot.features for slot in self.slots))
        begin = 0
        for slot in self.slots:
            view = whole[:, begin:begin + slot.features]
            if hasattr(slot, name):
                view.copy_(getattr(slot, name))
            setattr(slot, name, view)
            slot.begin = begin
            begin += slot.features
        return whole

    def _zeros(self, *shape: int) -> Tensor:
        return torch.zeros(shape, dtype=self.dtype, device=self.device)

    def step(self) -> None:
        """A step ended: its moments are merged."""
        if self._background is None:
            self._exchange()
        else:
            self._background.step()

    def flush(self) -> None:
        """Everything that was counted is merged when this returns."""
        self.step()
        if self._background is not None:
            self._background.wait()

    def _exchange(self) -> None:
        forward = [slot for slot in self.slots if slot.forward_rows]
        backward = [slot for slot in self.slots if slot.backward_rows]
        if not forward and not backward:
            return
        exchange = self.exchange_of(forward, backward)
        for i, slot in enumerate(forward):
            mean, variance = slot.batch.cpu().numpy()
            exchange.count[i] = slot.forward_rows
            exchange.mean[i][:] = mean
            np.multiply(variance, float(slot.forward_rows),
                        out=exchange.m2[i])
            # (Before the call: if it fails, they were sent or are lost, and it
            # says which. Never twice.)
            slot.forward_rows = 0
        for i, slot in enumerate(backward, len(forward)):
            exchange.count[i] = slot.backward_rows
            exchange.mean[i][:] = slot.batch_averages.cpu().numpy().reshape(-1)
            slot.backward_rows = 0
        exchange.run()
        for i, slot in enumerate(forward):
            answer = exchange.answer(i)
            slot.take_statistics(answer.row_count, answer.revision,
                                 exchange.out_mean[i],
                                 exchange.out_variance[i])
        for i, slot in enumerate(backward, len(forward)):
            slot.take_averages(exchange.answer(i).row_count,
                               exchange.out_mean[i])

    def exchange_of(self, forward: List[Slot],
                    backward: List[Slot]) -> Exchange:
        key = (tuple(map(id, forward)), tuple(map(id, backward)))
        exchange = self._exchanges.get(key)
        if exchange is None:
            normalizers = [slot.normalizer for slot in forward]
            normalizers += [slot.gradients for slot in backward
                            if slot.gradients is not None]
            exchange = self._client.exchange_of(normalizers)
            self._exchanges[key] = exchange
        return exchange

    def count_own(self, rows: Dict[Slot, int], batch: Tensor) -> None:
        """Own rows, here only, weighed as if all workers had sent as many."""
        shares = {slot: share_of(n * self.workers, slot.rows, slot.window)
                  for slot, n in rows.items()}
        merge_slots(self, shares, batch, self.statistics)
        for slot, n in rows.items():
            slot.rows += n * self.workers


def pull(slot: Slot) -> None:
    """What the server knows already. Never writes."""
    known = slot.normalizer.statistics()
    slot.take_statistics(known.row_count, known.revision, known.mean,
                         known.variance)
    if slot.gradients is not None:
        known = slot.gradients.statistics()
        slot.take_averages(known.row_count, known.mean)


def group_of(client: Client, dtype: torch.dtype, device: torch.device,
             background: bool, workers: int) -> Group:
    """That of this process: a forked child begins anew."""
    groups = client.__dict__.setdefault("_torch_groups", {})
    key = (os.getpid(), dtype, device, background, workers)
    if key not in groups:
        groups[key] = Group(client, dtype, device, background, workers)
    group: Group = groups[key]
    return group
