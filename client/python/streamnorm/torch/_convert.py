"""Whole models."""

from __future__ import annotations

import re
from typing import Any, Dict, Iterable, Iterator, Union

import torch
from torch import Tensor, nn
from torch.nn import functional

from .._client import Client
from ._layers import StreamNorm1d, StreamNorm2d, _StreamNorm

REPLACED: Dict[Any, Any] = {nn.BatchNorm1d: StreamNorm1d, nn.BatchNorm2d: StreamNorm2d}


class CenteredLinear(nn.Linear):
    """nn.Linear with the weights of each output minus their mean over the
    inputs: what all inputs have in common does not reach the normalization
    after it. x: [..., in_features] -> [..., out_features]."""

    def forward(self, x: Tensor) -> Tensor:
        # (W - mean(W)) x = W (x - mean(x)), which is less work.
        return functional.linear(x - x.mean(-1, keepdim=True), self.weight,
                                 self.bias)


def convert(model: nn.Module, client: Union[Client, str, None] = None,
            prefix: str = "model", center: bool = True,
            **options: Any) -> nn.Module:
    """`model` with each BatchNorm1d and BatchNorm2d replaced by a StreamNorm
    layer of the same weights and statistics, on normalizer `prefix`.path, and
    with `center` the Linear before it by a CenteredLinear. The parameters are
    the same objects, so that optimizers keep them.

    `options`: of StreamNorm1d. Workers that use the same prefix share their
    statistics.
    """
    replacement = _replacement(model, client, prefix, options)
    if replacement is not None:
        return replacement
    before: Any = None
    child: Any
    for name, child in list(model.named_children()):
        path = f"{prefix}.{name}"
        if type(child) in REPLACED and center and type(before) is nn.Linear \
                and before.out_features == child.num_features:
            # The same in all but its forward.
            before.__class__ = CenteredLinear
        setattr(model, name, convert(child, client, path, center, **options))
        before = child
    return model


def _replacement(norm: Any, client: Any, path: str,
                 options: Any) -> Any:
    layer_type = REPLACED.get(type(norm))
    if layer_type is None:
        return None
    weight = norm.weight if norm.affine else norm.running_mean
    layer = layer_type(norm.num_features, **{
        "name": id_from(path), "client": client, "eps": norm.eps,
        "affine": norm.affine, "device": weight.device, "dtype": weight.dtype,
        **options})
    layer.load_state_dict(norm.state_dict())
    if norm.affine:
        layer.weight, layer.bias = norm.weight, norm.bias
    return layer.train(norm.training)


def id_from(path: str) -> str:
    """A normalizer's id from a module's path."""
    return re.sub(r"[^a-z0-9._-]", "-", path.lower())


def layers_of(model: nn.Module) -> Iterator[_StreamNorm]:
    return (m for m in model.modules() if isinstance(m, _StreamNorm))


def prime(model: nn.Module, batches: Iterable[Any]) -> None:
    """Fills the statistics before the first step: passes `batches` (what the
    model takes; of a tuple or list, the first) forward, and trains nothing.
    64 to 128 rows are enough, and a server that has seen the data needs none.
    """
    training = model.training
    model.train()
    with torch.no_grad():
        for batch in batches:
            model(batch[0] if isinstance(batch, (tuple, list)) else batch)
    sync(model)
    model.train(training)


def sync(model: nn.Module) -> None:
    """When it returns, the server has counted every batch of every layer, and
    the layers have its statistics. Before a checkpoint: sync, then the
    client's barrier()."""
    for layer in layers_of(model):
        layer.sync()
