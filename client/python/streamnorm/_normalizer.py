"""A normalizer: rows in, rows out, statistics."""

from __future__ import annotations

import contextlib
import contextvars
from typing import (TYPE_CHECKING, Any, FrozenSet, Iterable, Iterator,
                    List, NamedTuple, Optional, Tuple)

import numpy as np

from . import _messages, _prefetch
from ._create import PREFIX
from ._errors import Frozen
from ._exchange import Exchange, ExchangePool, fill_entry
from ._rows import Columns, Rows, take_rows
from ._split import Splitter
from ._types import Answer, Mode, ModeLike, Statistics, Target, mode_of

if TYPE_CHECKING:
    from ._client import Client
    from ._snapshot import Snapshot

# What this thread or task evaluates and does not train: (client, name).
_frozen_here: contextvars.ContextVar[FrozenSet[Any]] = contextvars.ContextVar(
    "streamnorm_frozen", default=frozenset())

COLUMN_TYPES = {
    "count": "<u8", "mean": "<f8", "variance": "<f8",
    "sample_variance": "<f8", "standard_deviation": "<f8", "offset": "<f8",
    "scale": "<f8", "minimum": "<f8", "maximum": "<f8",
    "missing_count": "<u8", "infinite_count": "<u8", "state": "u1"}


class FeatureColumns(NamedTuple):
    """All statistics of a normalizer at one revision; [features] each.
    `state`: 1 ok, 2 constant, 3 too few values."""

    row_count: int
    revision: int
    count: np.ndarray  # type: ignore[assignment]  # values counted, uint64
    mean: np.ndarray
    variance: np.ndarray            # population, ddof 0
    sample_variance: np.ndarray     # ddof 1
    standard_deviation: np.ndarray  # sqrt(variance)
    offset: np.ndarray              # z = (x - offset) * scale
    scale: np.ndarray
    minimum: np.ndarray
    maximum: np.ndarray
    missing_count: np.ndarray       # NaN skipped
    infinite_count: np.ndarray
    state: np.ndarray


class Normalizer:
    """Made by `Client.normalizer`. Safe for concurrent use.

    x: [rows, features], or [features] for one row, as NumPy array, torch tensor
    or pandas DataFrame; the result is of the same kind, with the same dtype,
    index, columns and device, in memory of its own. z = (x - mean) / sqrt(
    variance), population variance, constant features divided by 1; other
    presets: docs/numerics.md.
    """

    def __init__(self, client: "Client", resource: Any) -> None:
        self._client = client
        self._resource = resource
        self.name: str = resource.name
        self.id: str = resource.name[len(PREFIX):]
        self.features: int = resource.features
        self.feature_names: Tuple[str, ...] = tuple(resource.feature_names)
        self.preset: str = resource.scaling.preset or "standard"
        self._columns = Columns(self.name, self.features, self.feature_names)
        self.target = Target(self.name, self.id.encode(),
                             resource.schema_hash)
        self._key = (id(client), self.name)
        self._merges = ExchangePool(self._make_exchange)
        self._splitter = Splitter(resource.nonfinite)

    # Rows.

    def __call__(self, x: Any, mode: Optional[ModeLike] = None) -> Any:
        """Counts the rows of `x` and answers them normalized; within
        `frozen()` it counts nothing. `mode`: Mode, or its name."""
        return self.normalize(x, mode)[0]

    def normalize(self, x: Any, mode: Optional[ModeLike] = None
                  ) -> Tuple[Any, Answer]:
        """The same, with what else the server says of it (Answer)."""
        chosen = self._mode_of(mode)
        rows = take_rows(x, self._columns)
        output, answer = self._send(rows, chosen)
        return (None if output is None else rows.rebuild(output)), answer

    def _mode_of(self, mode: Optional[ModeLike]) -> Mode:
        if mode is None:
            return (Mode.NORMALIZE_ONLY if self.is_frozen_here
                    else Mode.UPDATE_THEN_NORMALIZE)
        chosen = mode_of(mode)
        if chosen != Mode.NORMALIZE_ONLY:
            self.check_not_frozen()
        return chosen

    def _send(self, rows: Rows, mode: Mode
              ) -> Tuple[Optional[np.ndarray], Answer]:
        output = (None if mode == Mode.UPDATE_ONLY
                  else np.empty_like(rows.array))
        most = self._client.max_message_bytes
        if self._splitter.fits(rows.array, most):
            return output, self._exchange_rows(mode, rows.datatype, rows.array,
                                               output)
        return output, self._splitter.run(self._exchange_rows, mode, rows,
                                          output, most)

    def _exchange_rows(self, mode: Mode, datatype: int, rows: np.ndarray,
                       output: Optional[np.ndarray]) -> Answer:
        client = self._client
        with client._lock:
            if mode != Mode.NORMALIZE_ONLY or client._session is not None:
                return client._updating().normalize(
                    self.target, mode, datatype, rows, output)
            transport = client._get_transport()
        # Who only evaluates needs no session.
        return transport.normalize_only(self.target, datatype, rows, output)

    def partial_fit(self, x: Any, y: Any = None) -> "Normalizer":
        """Counts the rows of `x`, no output."""
        self.normalize(x, Mode.UPDATE_ONLY)
        return self

    def transform(self, x: Any) -> Any:
        """`x` normalized with the statistics as they are; never writes."""
        return self.normalize(x, Mode.NORMALIZE_ONLY)[0]

    def fit_transform(self, x: Any, y: Any = None) -> Any:
        """Counts `x` with all rows before it, and answers it normalized.
        Forgets nothing (`reset` does): others may share the normalizer."""
        return self.normalize(x, Mode.UPDATE_THEN_NORMALIZE)[0]

    def inverse_transform(self, z: Any) -> Any:
        """The values that were normalized to `z`, with the statistics as they
        are now. NotWarmedUp: there are fewer rows than the minimum."""
        rows = take_rows(z, self._columns)
        output = np.empty_like(rows.array)
        most = self._client.max_message_bytes
        for part in self._splitter.parts(rows.array, most):
            self._denormalize(rows.datatype, rows.array[part], output[part])
        return rows.rebuild(output)

    def _denormalize(self, datatype: int, rows: np.ndarray,
                     output: np.ndarray) -> None:
        response = self._client._call(
            "Denormalize", name=self.name, schema_hash=self.target.schema_hash,
            input={"datatype": datatype, "shape": rows.shape,
                   "data": rows.tobytes()})
        output[...] = np.frombuffer(response.output.data,
                                    output.dtype).reshape(output.shape)

    def normalize_iter(self, batches: Iterable[Any], *, ahead: int = 32,
                       mode: Optional[ModeLike] = None,
                       field: Any = None) -> Iterator[Any]:
        """The batches, normalized, in their order; up to `ahead` of them are
        on the wire at a time, so that none waits for the answer of the last.

        A batch may be a tuple, list or dict: its `field` (index or key;
        default 0 for tuples and lists) is normalized, the rest passed on.
        A batch that is refused raises its error in its place.
        """
        return _prefetch.normalize_iter(self, batches, ahead, mode, field)

    # Moments.

    def _make_exchange(self, **options: bool) -> Exchange:
        return self._client.exchange_of([self], **options)

    def merge(self, count: int, mean: Any, m2: Any, *, before: bool = False,
              feature_counts: Any = None, minimum: Any = None,
              maximum: Any = None) -> Statistics:
        """Counts `count` rows by their moments: `mean` and `m2` (sum of squared
        deviations from it), float64 [features].

        Answers the statistics after this merge or, with `before`, as they were
        before it. `feature_counts`: how many of the rows count for each
        feature, where values are missing; `minimum`, `maximum`: where known
        (presets minmax and maxabs want them).
        """
        key = (before, minimum is not None, feature_counts is not None)
        exchange = self._merges.take(*key)
        try:
            fill_entry(exchange, 0, count, mean, m2, feature_counts, minimum,
                       maximum)
            exchange.run()
            return exchange.statistics()
        finally:
            self._merges.give(exchange, *key)

    # Statistics, as scikit-learn names them.

    def statistics(self) -> FeatureColumns:
        """All of them, at one revision."""
        return FeatureColumns(**self._read(*COLUMN_TYPES))

    def _read(self, *fields: str) -> Any:
        message = self._client._call(
            "GetStatistics", name=self.name, view="COLUMNS",
            read_mask={"paths": fields})
        columns = {field: np.frombuffer(getattr(message.columns, field),
                                        COLUMN_TYPES[field]).copy()
                   for field in fields}
        return {"row_count": message.row_count, "revision": message.revision,
                **columns}

    @property
    def mean_(self) -> np.ndarray:
        return self._read("mean")["mean"]

    @property
    def var_(self) -> np.ndarray:
        """Population variance (ddof 0)."""
        return self._read("variance")["variance"]

    @property
    def scale_(self) -> np.ndarray:
        """What values are divided by."""
        return 1.0 / self._read("scale")["scale"]

    @property
    def n_samples_seen_(self) -> int:
        """Rows counted."""
        return self._read("count")["row_count"]

    def resource(self) -> Any:
        """The Normalizer message as it is now."""
        return self._client._call("GetNormalizer", name=self.name)

    # Who may count.

    @property
    def is_frozen_here(self) -> bool:
        return self._key in _frozen_here.get()

    @contextlib.contextmanager
    def frozen(self) -> Iterator["Normalizer"]:
        """For evaluation: within it, in this thread or task, calls count
        nothing, and those that do nothing else raise Frozen."""
        token = _frozen_here.set(_frozen_here.get() | {self._key})
        try:
            yield self
        finally:
            _frozen_here.reset(token)

    def check_not_frozen(self) -> None:
        if self._key in _frozen_here.get():
            raise Frozen(f"{self.name}: frozen here (with n.frozen()), want "
                         "no update", hint="leave the block to train")

    def freeze(self) -> None:
        """On the server, for all clients: no update counts from now on."""
        self._client._call("FreezeNormalizer", name=self.name)

    def unfreeze(self) -> None:
        self._client._call("UnfreezeNormalizer", name=self.name)

    # Snapshots.

    def snapshot(self, name: str) -> "Snapshot":
        """Keeps the statistics as they are, with their rule, under a name
        ([a-z][a-z0-9._-]{0,127}): what a model was trained with. On the
        server's disk when it returns; all that this client sent is in it.

        AlreadyExists: there is one of this name. ResourceExhausted: a limit of
        the server, 100 a normalizer.
        """
        from . import _snapshot  # its class is a normalizer
        return _snapshot.create(self, name)

    def at(self, name: str) -> "Snapshot":
        """The snapshot of that name, to read. NotFound: there is none."""
        from . import _snapshot
        return _snapshot.get(self, name)

    def snapshots(self) -> List["Snapshot"]:
        """All, in the order of their names."""
        from . import _snapshot
        return list(_snapshot.list_all(self))

    def delete_snapshot(self, name: str) -> None:
        """For all clients. NotFound: there is none of that name."""
        from . import _snapshot
        _snapshot.delete(self, name)

    # The resource.

    def barrier(self) -> bytes:
        """`Client.barrier`: of all normalizers of its client."""
        return self._client.barrier()

    def reset(self) -> None:
        """Forgets every row, for all clients. Updates that others sent before
        they heard of it don't count."""
        self.check_not_frozen()
        resource = self._client._call("ResetStatistics", name=self.name)
        self._client._changed(self.name, resource.generation)

    def delete(self) -> None:
        """Removes the normalizer and its statistics, for all clients."""
        self.check_not_frozen()
        self._client._call("DeleteNormalizer", name=self.name)
        self._client._changed(self.name, 0)

    def __repr__(self) -> str:
        return (f"<streamnorm.Normalizer {self.id} of {self.features} "
                f"features, preset {self.preset}>")

    def __reduce__(self) -> Any:
        return _unpickle, (self._client, self._resource.SerializeToString())


def _unpickle(client: "Client", resource: bytes) -> Normalizer:
    return Normalizer(client, _messages.Normalizer.FromString(resource))
