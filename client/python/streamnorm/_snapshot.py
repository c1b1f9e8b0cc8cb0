"""Snapshots: the statistics of a moment, the same for ever."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Iterator, Sequence

from . import _messages
from ._create import ID
from ._errors import Frozen, InvalidArgument, SchemaMismatch
from ._normalizer import Normalizer

if TYPE_CHECKING:
    from ._client import Client

SNAPSHOTS = "/snapshots/"
HINT = "a snapshot never changes: count in its normalizer"


class Snapshot(Normalizer):
    """Made by `Normalizer.snapshot`, `at` and `snapshots`. Reads as its
    normalizer did when it was made, to the bit, whatever became of that;
    calls count nothing, and those that do nothing else raise Frozen.

    Of its own: `snapshot_id`, `row_count`, `revision`, and `resource()`, the
    Snapshot message. `delete()` ends it, and so does the normalizer's end;
    reading it raises NotFound from then on.
    """

    def __init__(self, client: "Client", message: Any,
                 feature_names: Sequence[str]) -> None:
        super().__init__(client, _messages.Normalizer(
            name=message.name, features=message.features,
            feature_names=feature_names, schema_hash=message.schema_hash,
            scaling=message.scaling, nonfinite=message.nonfinite))
        self._message = message
        self.snapshot_id: str = message.name.rpartition("/")[2]
        self.row_count: int = message.row_count
        self.revision: int = message.revision

    @property
    def is_frozen_here(self) -> bool:
        """Everywhere."""
        return True

    def check_not_frozen(self) -> None:
        raise self._never("update")

    def _never(self, what: str) -> Frozen:
        return Frozen(f"{self.name}: {what}, want none: it is a snapshot",
                      reason="NORMALIZER_FROZEN", field="name", hint=HINT)

    def freeze(self) -> None:
        """It is."""

    def unfreeze(self) -> None:
        raise self._never("unfreeze")

    def snapshot(self, name: str) -> "Snapshot":
        raise self._never("snapshot")

    def resource(self) -> Any:
        return self._client._call("GetSnapshot", name=self.name)

    def delete(self) -> None:
        """Removes this snapshot, for all clients."""
        self._client._call("DeleteSnapshot", name=self.name)

    def __repr__(self) -> str:
        return f"<streamnorm.Snapshot {self.id} of {self.row_count} rows>"

    def __reduce__(self) -> Any:
        return _unpickle, (self._client, self._message.SerializeToString(),
                           self.feature_names)


def _unpickle(client: "Client", message: bytes,
              feature_names: Sequence[str]) -> Snapshot:
    return Snapshot(client, _messages.Snapshot.FromString(message),
                    feature_names)


def name_of(normalizer: Normalizer, snapshot_id: str) -> str:
    if not isinstance(snapshot_id, str) or not ID.fullmatch(snapshot_id):
        raise InvalidArgument(
            f"snapshot_id: {snapshot_id!r}, want [a-z][a-z0-9._-]{{0,127}}",
            reason="INVALID_ARGUMENT", field="snapshot_id")
    return normalizer.name + SNAPSHOTS + snapshot_id


def create(normalizer: Normalizer, snapshot_id: str) -> Snapshot:
    name_of(normalizer, snapshot_id)
    client = normalizer._client
    with client._lock:
        if client._session is not None:
            client._session.drain()  # what is on the wire counts
        return _handle(normalizer, client._call(
            "CreateSnapshot", parent=normalizer.name, snapshot_id=snapshot_id))


def get(normalizer: Normalizer, snapshot_id: str) -> Snapshot:
    return _handle(normalizer, normalizer._client._call(
        "GetSnapshot", name=name_of(normalizer, snapshot_id)))


def list_all(normalizer: Normalizer) -> Iterator[Snapshot]:
    token = ""
    while True:
        page = normalizer._client._call(
            "ListSnapshots", parent=normalizer.name, page_token=token,
            page_size=1000)
        for message in page.snapshots:
            yield _handle(normalizer, message)
        token = page.next_page_token
        if not token:
            return


def delete(normalizer: Normalizer, snapshot_id: str) -> None:
    normalizer._client._call("DeleteSnapshot",
                             name=name_of(normalizer, snapshot_id))


def _handle(normalizer: Normalizer, message: Any) -> Snapshot:
    if message.schema_hash != normalizer.target.schema_hash:
        # Deleted and made again since `normalizer` was got.
        raise SchemaMismatch(
            f"{message.name}: of {message.features} features or other names, "
            f"want those of {normalizer!r}", reason="SCHEMA_MISMATCH",
            field="schema_hash")
    return Snapshot(normalizer._client, message, normalizer.feature_names)
