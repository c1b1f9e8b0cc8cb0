"""Errors: a type for each code of the server, one line, and what to do."""

from __future__ import annotations

from typing import Any, Dict, Type

from . import _messages


class Error(Exception):
    """Of every call of this package. The message says path, got, want.

    `code`: of gRPC, "INVALID_ARGUMENT"; `reason`: of docs/api.md,
    "SCHEMA_MISMATCH", or ""; `field`: path of what is wrong, or ""; `hint`:
    what to do, or "". An error means that nothing was counted, but for
    DeadlineExceeded.
    """

    code = "UNKNOWN"

    def __init__(self, message: str, *, reason: str = "", field: str = "",
                 hint: str = "", code: str = "") -> None:
        super().__init__(message)
        self.reason = reason
        self.field = field
        self.hint = hint or HINTS.get(reason, "")
        if code:
            self.code = code

    def __reduce__(self) -> Any:
        return _rebuild, (type(self), str(self), self.__dict__)


def _rebuild(kind: Type[Error], message: str, fields: Dict[str, Any]) -> Error:
    error = kind(message)
    error.__dict__.update(fields)
    return error


class Cancelled(Error):
    code = "CANCELLED"


class Unknown(Error):
    code = "UNKNOWN"


class InvalidArgument(Error, ValueError):
    """Something is wrong with what was given; `field` says what."""

    code = "INVALID_ARGUMENT"


class ShapeMismatch(InvalidArgument):
    """Rows or arrays of another shape than the normalizer's."""


class TypeMismatch(InvalidArgument, TypeError):
    """A kind or a dtype that is not understood."""


class DeadlineExceeded(Error, TimeoutError):
    """Not answered in time. An update stays in the session and is delivered
    by a later call: don't send it again."""

    code = "DEADLINE_EXCEEDED"


class NotFound(Error, LookupError):
    code = "NOT_FOUND"


class AlreadyExists(Error):
    code = "ALREADY_EXISTS"


class PermissionDenied(Error):
    code = "PERMISSION_DENIED"


class ResourceExhausted(Error):
    code = "RESOURCE_EXHAUSTED"


class FailedPrecondition(Error):
    code = "FAILED_PRECONDITION"


class SchemaMismatch(FailedPrecondition):
    """Another number of features, other names, or another rule than the
    normalizer has."""


class Frozen(FailedPrecondition):
    """An update of a normalizer that is frozen."""


class NotWarmedUp(FailedPrecondition):
    """Fewer rows than the normalizer's minimum."""


class Aborted(Error):
    code = "ABORTED"


class OutOfRange(Error):
    code = "OUT_OF_RANGE"


class Unimplemented(Error):
    code = "UNIMPLEMENTED"


class Internal(Error):
    code = "INTERNAL"


class Unavailable(Error, ConnectionError):
    """No server answers, or it takes no updates."""

    code = "UNAVAILABLE"


class DataLoss(Error):
    """The server lost what it had promised; the message names the range."""

    code = "DATA_LOSS"


class Unauthenticated(Error):
    code = "UNAUTHENTICATED"


_BY_NUMBER: Dict[int, Type[Error]] = dict(enumerate([
    Cancelled, Unknown, InvalidArgument, DeadlineExceeded, NotFound,
    AlreadyExists, PermissionDenied, ResourceExhausted, FailedPrecondition,
    Aborted, OutOfRange, Unimplemented, Internal, Unavailable, DataLoss,
    Unauthenticated], 1))

_NUMBERS = {kind.code: number for number, kind in _BY_NUMBER.items()}

_BY_REASON: Dict[str, Type[Error]] = {
    "SCHEMA_MISMATCH": SchemaMismatch,
    "NORMALIZER_FROZEN": Frozen,
    "NOT_WARMED_UP": NotWarmedUp,
}

# What to do (docs/api.md).
HINTS = {
    "NORMALIZER_NOT_FOUND": "create it: client.normalizer(name, features=...)",
    "NORMALIZER_EXISTS": "get it, and look whether it is what you want",
    "NORMALIZER_QUARANTINED": "restore a backup, or delete it",
    "NORMALIZER_FROZEN": "unfreeze it, or normalize without counting",
    "SNAPSHOT_NOT_FOUND": "n.snapshots() lists those that there are",
    "SNAPSHOT_EXISTS": "take another name, or read it: n.at(name)",
    "SNAPSHOT_DAMAGED": "restore a backup, or delete it",
    "SCHEMA_MISMATCH": "take another name, or the columns it was made with",
    "NOT_WARMED_UP": "send rows with partial_fit first",
    "SESSION_UNKNOWN": "the session ended: connect anew",
    "EPOCH_FENCED": "another client resumed this session: connect anew",
    "GENERATION_UNKNOWN": "the normalizer was deleted and made again: "
                          "get it again with client.normalizer(name)",
    "HISTORY_LOST": "connect anew, and send the named rows again if you can",
    "UPDATE_LOST": "connect anew, and send the named rows again if you can",
    "ROWS_MISMATCH": "find out which count is wrong, then connect anew",
    "LIMIT_EXCEEDED": "raise the flag that the message names",
    "DISK_FULL": "free space on the server's disk; reads go on",
    "STORE_FAILED": "the server restarts: try again",
    "SHUTTING_DOWN": "try again when the server is back",
}

# After these no call of the session can succeed.
ENDING = {"EPOCH_FENCED", "SESSION_UNKNOWN", "HISTORY_LOST", "ROWS_MISMATCH",
          "UPDATE_LOST"}


def make_error(number: int, message: str, reason: str = "",
               field: str = "") -> Error:
    """The error of a gRPC code."""
    kind = _BY_REASON.get(reason) or _BY_NUMBER.get(number, Unknown)
    if kind is InvalidArgument:
        # The server's messages begin with the path (docs/api.md).
        field = field or message.partition(": ")[0]
        if "shape" in field or field.endswith((".mean", ".m2", "data")):
            kind = ShapeMismatch
    made: Any = kind
    return made(message, reason=reason, field=field)


def number_of(error: Error) -> int:
    return _NUMBERS[error.code]


def from_status(status: Any) -> Error:
    """Of a google.rpc.Status, with its details."""
    reason = field = ""
    for detail in status.details:
        if detail.type_url.endswith("google.rpc.ErrorInfo"):
            reason = _messages.ErrorInfo.FromString(detail.value).reason
        elif detail.type_url.endswith("google.rpc.BadRequest"):
            bad = _messages.BadRequest.FromString(detail.value)
            if bad.field_violations:
                field = bad.field_violations[0].field
    return make_error(status.code, status.message, reason, field)


def from_rpc_error(error: Any) -> Error:
    """Of a grpc.RpcError."""
    for key, value in error.trailing_metadata() or ():
        if key == "grpc-status-details-bin":
            return from_status(_messages.Status.FromString(value))
    return make_error(error.code().value[0], error.details() or "")


def is_retryable(error: Error) -> bool:
    """It may have been counted or not: to be sent again."""
    return isinstance(error, (Unavailable, Cancelled))


def not_sent(error: Error) -> Error:
    """What to tell of an update when `error` came before it was kept: then no
    time left means that nothing was sent, which DeadlineExceeded denies."""
    if not isinstance(error, DeadlineExceeded):
        return error
    return Unavailable("no answer in time to what came before; this was not "
                       "sent: send it again later")
