"""Layers that normalize with statistics of all rows of all workers, which a
StreamNorm server keeps: batches of 2 or 4 train like batches of 128.

    import streamnorm.torch as sn
    model = sn.convert(model, client="localhost:50051", prefix="resnet-run7")
    sn.prime(model, first_batches)       # statistics before the first step
    ...                                  # train as always
    sn.sync(model)                       # what was counted is on the server

Manual: docs/torch.md.
"""

from ._convert import CenteredLinear, convert, prime, sync
from ._layers import StreamNorm1d, StreamNorm2d

__all__ = ["CenteredLinear", "StreamNorm1d", "StreamNorm2d", "convert",
           "prime", "sync"]
