"""StreamNorm1d and StreamNorm2d."""

from __future__ import annotations

import copy
import math
import os
import uuid
import weakref
from typing import Any, Dict, Optional, Tuple, Union

import torch
from torch import Tensor, nn

from .._client import Client, connect
from .._errors import InvalidArgument, ShapeMismatch
from ._function import StreamNormFunction, along, normalize
from ._group import AVERAGES, Slot, group_of, pull

_clients: Dict[Tuple[int, Optional[str]], Client] = {}


def client_of(client: Union[Client, str, None]) -> Client:
    """A client, that of an address, or that of the default address."""
    if isinstance(client, Client):
        return client
    key = (os.getpid(), client)
    if key not in _clients:
        _clients[key] = connect(client)
    return _clients[key]


def _workers() -> int:
    distributed = torch.distributed
    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_world_size()
    return 1


class _StreamNorm(nn.Module):
    """What both have. x: [rows, num_features, ...] of any floating type.

    Training: y = (x - mean) / sqrt(variance + eps), limited to [-clip, clip],
    with the statistics before this batch, of all rows that all workers sent to
    normalizer `name`; then the batch is counted there. The gradient goes
    through running averages of its own, in normalizer `name`.grad (formula:
    StreamNormFunction). A step is one round trip for all layers of a client,
    made where the next one begins; its error is raised there.

    Evaluation: y with `running_mean` and `running_var`; never writes.

    `name`: [a-z][a-z0-9._-]{0,122}; None: a normalizer that nobody else knows.
    `client`: a Client, an address, or None for the default address.
    `window`: rows after which older ones weigh 1/e; None: all count alike.
    `grad_window`: likewise for the gradient's averages.
    `clip`: None: no limit. `affine`: y * weight + bias.
    `backward`: "regression", or "constant": statistics as constants.
    `exchange`: "sync": the statistics are those of all rows up to this step;
    "async": in a thread beside the training: other workers' rows come some
    steps late, own rows count at once, as if `workers` (default: the world
    size of torch.distributed) had sent as many, and the gradient's averages
    stay a worker's own.

    Raises ShapeMismatch, InvalidArgument, SchemaMismatch (the normalizer
    exists with another window or feature count), Unavailable. Not thread safe.
    """

    _dimensions: Tuple[int, ...] = ()

    def __init__(self, num_features: int, *, name: Optional[str] = None,
                 client: Union[Client, str, None] = None, eps: float = 1e-5,
                 window: Optional[float] = 1000, grad_window: float = 100,
                 clip: Optional[float] = 5.0, affine: bool = True,
                 backward: str = "regression", exchange: str = "sync",
                 workers: Optional[int] = None,
                 device: Any = None, dtype: Any = None) -> None:
        super().__init__()
        check("backward", backward, ("regression", "constant"))
        check("exchange", exchange, ("sync", "async"))
        self.num_features = num_features
        self.name = name or f"layer-{uuid.uuid4().hex}"
        self.eps = eps
        self.window = window
        self.grad_window = grad_window
        self.clip = clip
        self.affine = affine
        self.backward_rule = backward
        self.exchange = exchange
        self.workers = workers
        self._client = client
        self._slot: Optional[Slot] = None
        factory = {"device": device, "dtype": dtype}
        if affine:
            self.weight = nn.Parameter(torch.ones(num_features, **factory))
            self.bias = nn.Parameter(torch.zeros(num_features, **factory))
        else:
            self.register_parameter("weight", None)
            self.register_parameter("bias", None)
        self.running_mean: Tensor
        self.running_var: Tensor
        self.num_batches_tracked: Tensor
        self.register_buffer("running_mean",
                             torch.zeros(num_features, **factory))
        self.register_buffer("running_var",
                             torch.ones(num_features, **factory))
        self.register_buffer("num_batches_tracked",
                             torch.tensor(0, dtype=torch.long, device=device))
        self._batches = 0   # since num_batches_tracked was written
        self._known = False  # running_mean and running_var are statistics

    def forward(self, x: Tensor) -> Tensor:
        self._check(x)
        if self.training:
            slot = self._own_slot() or self._attach(x)
            self._batches += 1
            return StreamNormFunction.apply(
                x, self.weight, self.bias, slot, self.eps,
                math.inf if self.clip is None else self.clip,
                self.backward_rule == "regression")
        return self._evaluate(x)

    def _evaluate(self, x: Tensor) -> Tensor:
        if not self._known and self.num_batches_tracked == 0:
            self._pull()
        y = normalize(x.to(self.running_mean.dtype), self.running_mean,
                      self.running_var, self.eps, self.clip)
        if self.affine:
            y = torch.addcmul(along(self.bias, y), y, along(self.weight, y))
        return y.to(x.dtype)

    def _check(self, x: Tensor) -> None:
        if x.dim() not in self._dimensions or x.shape[1] != self.num_features:
            wanted = " or ".join(f"{d} dimensions" for d in self._dimensions)
            raise ShapeMismatch(
                f"x: shape {list(x.shape)}, want [rows, {self.num_features}, "
                f"...] of {wanted} ({self.name})", field="x")
        if not x.is_floating_point():
            raise InvalidArgument(f"x: {x.dtype}, want a floating type "
                                  f"({self.name})", field="x")

    # The server.

    def _own_slot(self) -> Optional[Slot]:
        """Not a parent's: what it counted is not ours to send."""
        slot = self._slot
        if slot is not None and slot.group.pid != os.getpid():
            slot = self._slot = None
        return slot

    def _detach(self) -> None:
        if self._slot is not None:
            self._slot.retire()
            self._slot = None

    def _send(self) -> None:
        """What was counted is on the server, and its statistics are here."""
        slot = self._own_slot()
        if slot is not None:
            slot.group.flush()
        self._write_buffers()

    def _attach(self, x: Tensor) -> Slot:
        """Finds or creates the normalizers, and what they know."""
        client = client_of(self._client)
        dtype = self.running_mean.dtype
        if dtype in (torch.float16, torch.bfloat16):
            dtype = torch.float32
        window: Dict[str, Any] = {}
        if self.window is not None:
            window["window_rows"] = self.window
        normalizer = client.normalizer(self.name, self.num_features,
                                       "batchnorm", epsilon=self.eps, **window)
        gradients = None
        if self.backward_rule == "regression" and self.exchange == "sync":
            gradients = client.normalizer(
                f"{self.name}.grad", AVERAGES * self.num_features,
                moments="mean", window_rows=self.grad_window)
        group = group_of(client, dtype, x.device, self.exchange == "async",
                         self.workers or _workers())
        slot = group.add(normalizer, gradients, self.window, self.grad_window)
        if slot.rows == 0 and self._is_trained():
            # A checkpoint's statistics, until the server has some.
            slot.statistics[0].copy_(self.running_mean)
            slot.statistics[1].copy_(self.running_var)
            slot.rows = 1
        self._slot = slot
        weakref.finalize(self, slot.retire)
        return slot

    def _is_trained(self) -> bool:
        return self._known or int(self.num_batches_tracked) > 0

    def _pull(self) -> None:
        """The statistics of a normalizer that others train. Never writes."""
        known = client_of(self._client).normalizer(self.name).statistics()
        if known.row_count:
            self.running_mean.copy_(torch.from_numpy(known.mean))
            self.running_var.copy_(torch.from_numpy(known.variance))
            self._known = True

    def sync(self) -> None:
        """When it returns, the server has counted every batch, and the layer
        has its statistics. In evaluation it only reads."""
        slot = self._own_slot()
        if slot is None:
            return self._pull()
        slot.group.flush()
        pull(slot)
        self._write_buffers()

    def _write_buffers(self) -> None:
        slot = self._own_slot()
        self.num_batches_tracked += self._batches
        self._batches = 0
        if slot is not None and slot.rows:
            self.running_mean.copy_(slot.statistics[0])
            self.running_var.copy_(slot.statistics[1])
            self._known = True

    # Modules.

    def train(self, mode: bool = True) -> "_StreamNorm":
        if self.training and not mode:
            self._send()
        return super().train(mode)  # type: ignore[return-value]

    def _save_to_state_dict(self, destination: Any, prefix: str,
                            keep_vars: bool) -> None:
        self._send()
        super()._save_to_state_dict(  # type: ignore[no-untyped-call]
            destination, prefix, keep_vars)
        # Not a key: BatchNorm loads this too.
        metadata = getattr(destination, "_metadata", None)
        if metadata is not None and self._slot is not None:
            metadata.setdefault(prefix[:-1], {})["streamnorm"] = {
                "normalizer": self.name, "revision": self._slot.revision,
                "row_count": self._slot.rows}

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        super()._load_from_state_dict(  # type: ignore[no-untyped-call]
            *args, **kwargs)
        self._batches = 0
        self._known = False
        self._detach()

    def _apply(self, fn: Any) -> "_StreamNorm":
        """To another device or type: what was counted is sent first."""
        self._send()
        self._detach()
        return super()._apply(fn)  # type: ignore[no-untyped-call]

    def __getstate__(self) -> Dict[str, Any]:
        self._send()
        return {**self.__dict__, "_slot": None}

    def __deepcopy__(self, memo: Any) -> "_StreamNorm":
        """Of the same normalizer: what both are trained with counts there."""
        twin = self.__class__.__new__(self.__class__)
        memo[id(self)] = twin
        state = self.__getstate__()
        memo[id(self._client)] = self._client
        twin.__dict__.update(copy.deepcopy(state, memo))
        return twin

    def extra_repr(self) -> str:
        return (f"{self.num_features}, name={self.name!r}, eps={self.eps}, "
                f"window={self.window}, clip={self.clip}, "
                f"exchange={self.exchange!r}")


class StreamNorm1d(_StreamNorm):
    """x: [rows, num_features] or [rows, num_features, length].

    A value of each position counts, a row is a row.
    """

    __doc__ += _StreamNorm.__doc__ or ""  # type: ignore[operator]
    _dimensions = (2, 3)


class StreamNorm2d(_StreamNorm):
    """x: [rows, num_features, height, width].

    A value of each position counts, a row is an image.
    """

    __doc__ += _StreamNorm.__doc__ or ""  # type: ignore[operator]
    _dimensions = (4,)


def check(field: str, value: str, known: Tuple[str, ...]) -> None:
    if value not in known:
        raise InvalidArgument(f"{field}: {value!r}, want "
                              f"{' or '.join(map(repr, known))}", field=field)
