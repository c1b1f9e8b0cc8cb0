"""Sessions over the C library: it numbers, keeps and replays."""

from __future__ import annotations

import collections
import ctypes
from ctypes import byref, c_size_t, create_string_buffer
from typing import Any, Deque, List, Optional

import numpy as np

from ._c_library import CError, COptions, connecting
from ._errors import ENDING, DeadlineExceeded, Error, not_sent
from ._exchange import Exchange
from ._types import ANSWER, Answer, Mode, Pending, Target

# A few hundred bytes per normalizer.
TOKEN_ROOM = 1 << 16
OUT_OF_RANGE = 11


def _address(array: Optional[np.ndarray]) -> Optional[int]:
    return None if array is None else array.__array_interface__["data"][0]


class CTransport:
    """The library's client, of one process."""

    kind = "c"

    def __init__(self, library: Any, address: str, timeout: float,
                 use_lane: bool = True) -> None:
        self.library = library
        options = COptions(request_timeout_ms=max(1, int(timeout * 1000)),
                           no_lane=not use_lane)
        error = CError()
        with connecting():
            self.pointer = library.sn_connect(
                address.encode(), byref(options), byref(error))
        if not self.pointer:
            raise error.to_error()

    def open_session(self, name: str) -> "CSession":
        error = CError()
        pointer = self.library.sn_session_open(self.pointer, name.encode(),
                                               byref(error))
        return CSession(self, pointer, error)

    def resume_session(self, token: bytes) -> "CSession":
        error = CError()
        pointer = self.library.sn_session_resume(self.pointer, token,
                                                 len(token), byref(error))
        return CSession(self, pointer, error)

    def normalize_only(self, target: Target, datatype: int, rows: np.ndarray,
                       output: np.ndarray) -> Answer:
        error, answer = CError(), create_string_buffer(ANSWER.size)
        if self.library.sn_normalize_only(
                self.pointer, target.id, datatype, *rows.shape,
                _address(rows), _address(output), answer, byref(error)):
            raise error.to_error()
        return Answer(*ANSWER.unpack(answer.raw))

    def close(self) -> None:
        self.library.sn_client_free(self.pointer)
        self.pointer = None


class CSession:
    """Not thread safe: its client's lock is held."""

    def __init__(self, transport: CTransport, pointer: Any,
                 error: CError) -> None:
        if not pointer:
            raise error.to_error()
        self._transport = transport
        self._library = transport.library
        self._pointer = pointer
        self._error = error
        self._error_at = ctypes.addressof(error)
        self._answer = create_string_buffer(ANSWER.size)
        self._answer_at = ctypes.addressof(self._answer)
        self._due: Deque[Pending] = collections.deque()
        self._failed: Optional[Error] = None

    def _check(self, code: int) -> None:
        if code:
            raise self._to_error()

    def _to_error(self) -> Error:
        error = self._error.to_error()
        if error.reason in ENDING:
            self._failed = error  # for good
        return error

    def _clear(self) -> None:
        """What was submitted before is answered first."""
        if self._failed is not None:
            raise self._failed
        try:
            self.drain()
        except DeadlineExceeded as error:
            raise not_sent(error) from None

    def _take_answer(self) -> Answer:
        return Answer(*ANSWER.unpack_from(self._answer))

    def normalize(self, target: Target, mode: Mode, datatype: int,
                  rows: np.ndarray, output: Optional[np.ndarray]) -> Answer:
        self._clear()
        count, features = rows.shape
        self._check(self._library.sn_normalize(
            self._pointer, target.id, mode, datatype, count, features,
            _address(rows), _address(output), self._answer_at,
            self._error_at))
        return self._take_answer()

    def submit(self, target: Target, mode: Mode, datatype: int,
               rows: np.ndarray, output: Optional[np.ndarray]) -> Pending:
        if self._failed is not None:
            raise self._failed
        count, features = rows.shape
        self._check(self._library.sn_submit(
            self._pointer, target.id, mode, datatype, count, features,
            _address(rows), self._error_at))
        pending = Pending(output)
        self._due.append(pending)
        return pending

    def receive(self) -> None:
        """The oldest answer that is due."""
        pending = self._due[0]
        size = 0 if pending.output is None else pending.output.nbytes
        code = self._library.sn_receive(
            self._pointer, _address(pending.output), size, self._answer_at,
            self._error_at)
        if code:
            if self._library.sn_in_flight(self._pointer) == len(self._due):
                raise self._to_error()  # it did not come yet
            pending.error = self._to_error()
        else:
            pending.answer = self._take_answer()
        self._due.popleft()

    @property
    def in_flight(self) -> int:
        return len(self._due)

    def drain(self) -> None:
        while self._due:
            self.receive()

    def exchange(self, exchange: Exchange, targets: List[Target]) -> None:
        self._clear()
        self._check(self._library.sn_exchange_moments(
            self._pointer, exchange.address, len(exchange.names),
            self._error_at))

    def barrier(self) -> bytes:
        self.drain()
        room, token = c_size_t(TOKEN_ROOM), create_string_buffer(TOKEN_ROOM)
        code = self._library.sn_barrier(self._pointer, token, byref(room),
                                        self._error_at)
        if code == OUT_OF_RANGE:
            token = create_string_buffer(room.value)
            code = self._library.sn_barrier(self._pointer, token, byref(room),
                                            self._error_at)
        self._check(code)
        return token.raw[:room.value]

    def renewed(self) -> "CSession":
        """The same session, which knows normalizers as they are now: after one
        was reset or deleted."""
        token = self.barrier()
        session = self._transport.resume_session(token)
        self.abandon()
        return session

    def close(self) -> None:
        """Ends the session on the server."""
        self.drain()
        try:
            self._check(self._library.sn_session_close(self._pointer,
                                                       self._error_at))
        finally:
            self.abandon()

    def quiesce(self) -> None:
        """Before a fork."""
        self.drain()

    def abandon(self) -> None:
        """Lets go of it; the server keeps it."""
        self._library.sn_session_free(self._pointer)
        self._pointer = None
