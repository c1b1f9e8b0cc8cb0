"""What calls take and answer."""

from __future__ import annotations

import enum
import struct
from typing import Any, NamedTuple, Union

import numpy as np

from ._errors import InvalidArgument


class Mode(enum.IntEnum):
    """What a call does besides answering; docs/python.md."""

    UPDATE_THEN_NORMALIZE = 1  # the answer includes these rows
    NORMALIZE_THEN_UPDATE = 2  # the past only; then the rows are counted
    NORMALIZE_ONLY = 3         # never writes
    UPDATE_ONLY = 4            # no output


ModeLike = Union[Mode, int, str]


def mode_of(mode: ModeLike) -> Mode:
    """`mode` may be its name: "normalize_only"."""
    try:
        return Mode[mode.upper()] if isinstance(mode, str) else Mode(mode)
    except (KeyError, ValueError):
        wanted = ", ".join(m.name.lower() for m in Mode)
        raise InvalidArgument(f"mode: {mode!r}, want one of {wanted}",
                              field="mode") from None


# Element types of tensors on the wire and in the C library.
FP32, FP64, FP16, BF16 = 1, 2, 3, 4


class Answer(NamedTuple):
    """What a normalizer says of a request, besides values."""

    revision: int          # one per update of the normalizer
    row_count: int         # of the normalizer, after this request
    counted_rows: int      # by this request: 0 for a duplicate
    durable_sequence: int  # updates of this session up to it are on disk
    nonfinite_values: int  # NaN and infinities that were skipped
    clipped_values: int    # outputs at the limit
    duplicate: bool        # counted before
    warming_up: bool       # too few rows: see WarmUp in normalizer.proto
    frozen: bool           # by the server: nothing was counted
    over_lane: bool        # and not over gRPC


# Answer in memory as client/c/streamnorm.h has it.
ANSWER = struct.Struct("<6Q4?4x")


class Statistics(NamedTuple):
    """Of one normalizer, float64 [features] each; z = (x - offset) * scale."""

    mean: np.ndarray
    variance: np.ndarray  # population, ddof 0
    offset: np.ndarray
    scale: np.ndarray
    answer: Answer


def answer_of(response: Any) -> Answer:
    """Of a NormalizeResponse or a MergeMomentsResponse."""
    counts = getattr(response, "nonfinite_values", 0)
    clipped = getattr(response, "clipped_values", 0)
    return Answer(response.revision, response.row_count,
                  response.counted_rows, response.durable_sequence, counts,
                  clipped, response.duplicate, response.warming_up,
                  response.frozen, False)


class Target(NamedTuple):
    """A normalizer as requests name it."""

    name: str  # normalizers/{id}
    id: bytes
    schema_hash: int


class Pending:
    """A request on the wire and its answer to come, in `output`."""

    __slots__ = ("output", "answer", "error")

    def __init__(self, output: Any) -> None:
        self.output: Any = output  # an array to be filled, or None
        self.answer: Any = None
        self.error: Any = None

    @property
    def done(self) -> bool:
        return self.answer is not None or self.error is not None
