"""The forward and the backward of one layer, on its device. Compiled: a step
of small layers is paid for by the call, not by the value."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, List, Optional, Tuple

import torch
from torch import Tensor
from torch.autograd import Function

from . import _small

if TYPE_CHECKING:
    from ._group import Slot


def along(values: Tensor, x: Tensor) -> Tensor:
    """`values` [features], to be used with x [rows, features, ...]."""
    return values if x.dim() == 2 else values.view(1, -1,
                                                   *[1] * (x.dim() - 2))


def normalize(x: Tensor, mean: Tensor, variance: Tensor, eps: float,
              clip: Optional[float]) -> Tensor:
    """(x - mean) / sqrt(variance + eps), limited to [-clip, clip]."""
    y = (x - along(mean, x)) * along((variance + eps).rsqrt(), x)
    return y if clip is None else y.clamp(-clip, clip)


@torch.jit.script
def _normalize_batch(x: Tensor, statistics: Tensor, batch: Tensor,
                     first: bool, eps: float, clip: float,
                     weight: Optional[Tensor], bias: Optional[Tensor]
                     ) -> Tuple[Tensor, Tensor, Tensor]:
    """`statistics`: mean and variance, [2, features]; those of x are written
    to `batch`. Answers y * weight + bias, y, and what x was multiplied by."""
    dims = [0]
    shape = [1, -1]
    for d in range(2, x.dim()):
        dims.append(d)
        shape.append(1)
    mean = x.mean(dims)
    batch[0].copy_(mean)
    # (torch.var_mean of a few rows takes five times as long.)
    batch[1].copy_((x - mean.view(shape)).square_().mean(dims))
    used = batch if first else statistics
    rstd = (used[1] + eps).rsqrt().view(shape)
    y = (x - used[0].view(shape)).mul_(rstd).clamp_(-clip, clip)
    if weight is not None and bias is not None:
        return (torch.addcmul(bias.view(shape), y, weight.view(shape)), y,
                rstd)
    return y, y, rstd


@torch.jit.script
def _gradients(grad: Tensor, y: Tensor, rstd: Tensor,
               weight: Optional[Tensor], clip: float, regression: bool,
               averages: Tensor, batch: Tensor, share: float
               ) -> List[Tensor]:
    """Of x and, where there is a weight, of weight and bias."""
    dims = [0]
    shape = [1, -1]
    for d in range(2, y.dim()):
        dims.append(d)
        shape.append(1)
    result: List[Tensor] = []
    g = grad
    if weight is not None:
        result = [(grad * y).sum(dims), grad.sum(dims)]
        g = grad * weight.view(shape)
    g = g * (y.abs() < clip)
    if regression:
        dims = [d + 1 for d in dims]
        torch.mean(torch.stack((g, g * y, y, y * y)), dims, out=batch)
        averages.lerp_(batch, share)
        mean_g, mean_gy, mean_y, mean_yy = averages.unbind()
        slope = (mean_gy - mean_g * mean_y) / (
            mean_yy - mean_y * mean_y).clamp_(min=0.1)
        # g - (E[g] + (y - E[y]) slope)
        g = torch.addcmul(g - (mean_g - mean_y * slope).view(shape), y,
                          slope.view(shape), value=-1.0)
    return [g * rstd] + result


class StreamNormFunction(Function):
    """y = (x - mean) / sqrt(variance + eps) with the statistics before this
    batch (of the very first one: its own), and for the gradient the backward
    of batch normalization with its averages over the batch replaced by running
    ones, as a regression of g = dL/dy on (1, y):

        b = (E[gy] - E[g] E[y]) / max(E[yy] - E[y]^2, 0.1)
        dL/dx = (g - E[g] - (y - E[y]) b) / sqrt(variance + eps)

    where g is 0 for values that were limited. The averages include this batch.
    Without `regression`, dL/dx = g / sqrt(variance + eps). Answers
    y * weight + bias.
    """

    @staticmethod
    def forward(  # type: ignore[override]
            ctx: Any, x: Tensor, weight: Optional[Tensor],
            bias: Optional[Tensor], slot: "Slot", eps: float, clip: float,
            regression: bool) -> Tensor:
        slot.begin_forward(x.shape[0])
        values = x if x.dtype is slot.dtype else x.to(slot.dtype)
        ctx.small = slot.on_host and x.dim() == 2 and \
            x.numel() <= _small.MOST_VALUES
        first = slot.rows == 0
        if ctx.small:
            out, y, rstd = map(torch.from_numpy, _small.normalize_batch(
                values.numpy(), slot.host_statistics, slot.host_batch, first,
                eps, clip, _host(weight), _host(bias)))
        else:
            out, y, rstd = _normalize_batch(
                values, slot.statistics, slot.batch, first, eps, clip, weight,
                bias)
        ctx.save_for_backward(y, rstd, weight)
        ctx.slot, ctx.clip, ctx.regression = slot, clip, regression
        return out if out.dtype is x.dtype else out.to(x.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        grad = grads[0]
        y, rstd, weight = ctx.saved_tensors
        slot = ctx.slot
        share = slot.begin_backward(y.shape[0]) if ctx.regression else 0.0
        values = grad if grad.dtype is y.dtype else grad.to(y.dtype)
        if ctx.small:
            found = [torch.from_numpy(part) for part in _small.gradients(
                values.numpy(), y.numpy(), rstd.numpy(), _host(weight),
                ctx.clip, ctx.regression, slot.host_averages,
                slot.host_batch_averages, share)]
        else:
            found = _gradients(values, y, rstd, weight, ctx.clip,
                               ctx.regression, slot.averages,
                               slot.batch_averages, share)
        dx = found[0] if grad.dtype is y.dtype else found[0].to(grad.dtype)
        d_weight, d_bias = found[1:] or (None, None)
        return dx, d_weight, d_bias, None, None, None, None


def _host(parameter: Optional[Tensor]) -> Any:
    return None if parameter is None else parameter.detach().numpy()


@torch.jit.script
def merge_shared(statistics: Tensor, batch: Tensor, share: float) -> None:
    """Merges mean and variance [2, ...] of rows that get `share` of the weight
    into those of the others; docs/numerics.md, "Windows"."""
    difference = batch[0] - statistics[0]
    statistics.lerp_(batch, share)
    statistics[1].addcmul_(difference, difference, value=share * (1 - share))
