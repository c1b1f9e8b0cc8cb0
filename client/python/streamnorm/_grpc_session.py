"""Sessions over grpcio: the same promises as client/client_session.h."""

from __future__ import annotations

import collections
import queue
import threading
import time
from typing import Any, Deque, List, Optional, Tuple

import grpc
import numpy as np

from . import _messages
from ._connection import Backoff, Connection
from ._errors import (ENDING, DataLoss, DeadlineExceeded, Error, Internal,
                      NotFound, Unavailable, from_rpc_error, from_status,
                      is_retryable, not_sent)
from ._exchange import OUTPUTS, Exchange
from ._outbox import Outbox, Update
from ._types import ANSWER, Answer, Mode, Pending, Target, answer_of

MAX_IN_FLIGHT = 64


def timed_out() -> DeadlineExceeded:
    return DeadlineExceeded(
        "not answered in time; what was sent stays in the session's buffer "
        "and is delivered by the next call: don't send it again")


def normalize_request(target: Target, mode: Mode, datatype: int,
                      rows: np.ndarray) -> Any:
    request = _messages.NormalizeRequest(
        name=target.name, mode=mode, schema_hash=target.schema_hash)
    tensor = request.input
    tensor.datatype = datatype
    tensor.shape.extend(rows.shape)
    tensor.data = rows.tobytes()
    return request


def take_output(response: Any, output: Optional[np.ndarray]) -> Answer:
    if output is not None:
        data = np.frombuffer(response.output.data, output.dtype)
        output[...] = data.reshape(output.shape)
    return answer_of(response)


class GrpcTransport:
    """Makes sessions over one connection."""

    kind = "grpc"

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    def open_session(self, name: str) -> "GrpcSession":
        return GrpcSession(self.connection,
                           self.connection.call("OpenSession", client=name))

    def resume_session(self, token: bytes) -> "GrpcSession":
        return GrpcSession(self.connection,
                           self.connection.call("ResumeSession", token=token))

    def normalize_only(self, target: Target, datatype: int, rows: np.ndarray,
                       output: np.ndarray) -> Answer:
        response = self.connection.call("Normalize", normalize_request(
            target, Mode.NORMALIZE_ONLY, datatype, rows))
        return take_output(response, output)

    def close(self) -> None:
        """The connection is its client's."""


class Stream:
    """One NormalizeStream. Its two threads end with it."""

    def __init__(self, connection: Connection) -> None:
        self._requests: Any = queue.SimpleQueue()
        self._answers: Any = queue.SimpleQueue()
        self._call = connection.stream(iter(self._requests.get, None))
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        try:
            for response in self._call:
                self._answers.put(response)
            error: Error = Unavailable("the server ended the stream")
        except grpc.RpcError as failure:
            error = from_rpc_error(failure)
        self._answers.put(error)

    def send(self, message: Any) -> None:
        self._requests.put(message.SerializeToString())

    def receive(self, deadline: float) -> Any:
        """The next response; raises what broke the stream."""
        try:
            got = self._answers.get(timeout=max(
                deadline - time.monotonic(), 0.001))
        except queue.Empty:
            raise timed_out() from None
        if isinstance(got, Error):
            raise got
        return got

    def close(self, in_order: bool = False) -> None:
        self._requests.put(None)
        if not in_order:
            self._call.cancel()
        self._reader.join()


class GrpcSession:
    """Not thread safe: its client's lock is held."""

    def __init__(self, connection: Connection, opened: Any) -> None:
        self._connection = connection
        self._outbox = Outbox(opened)
        self._incarnation: int = opened.incarnation
        self._broken = False  # ask what was counted before anything else
        self._failed: Optional[Error] = None  # for good
        self._stream: Optional[Stream] = None
        # Submitted, without an answer; NORMALIZE_ONLY has no Update.
        self._due: Deque[Tuple[Pending, Any, Optional[Update]]] = \
            collections.deque()

    # One update at a time.

    def normalize(self, target: Target, mode: Mode, datatype: int,
                  rows: np.ndarray, output: Optional[np.ndarray]) -> Answer:
        self._clear()
        request = normalize_request(target, mode, datatype, rows)
        if mode == Mode.NORMALIZE_ONLY:
            return take_output(self._connection.call("Normalize", request),
                               output)
        update = Update("Normalize", request)
        self._add([update], [target])
        return take_output(self._deliver(update), output)

    def _clear(self) -> None:
        """What was submitted before is answered first."""
        try:
            self.drain()
        except DeadlineExceeded as error:
            raise not_sent(error) from None

    def _add(self, updates: List[Update], targets: List[Target]) -> None:
        self._check_failed()
        try:
            for target in targets:
                self._learn_generation(target)
            while not self._outbox.has_room(updates):
                self.drain()
                if not self._outbox.has_room(updates):
                    self.barrier()
        except DeadlineExceeded as error:
            raise not_sent(error) from None
        for update in updates:
            self._outbox.add(update)

    def _learn_generation(self, target: Target) -> None:
        """An update names the generation it was made in."""
        if self._outbox.knows_generation(target.name):
            return
        try:
            normalizer = self._connection.call("GetNormalizer",
                                               name=target.name)
        except NotFound:
            return
        self._outbox.learn_generation(target.name, normalizer.generation)

    def _deliver(self, update: Update) -> Any:
        """Sends it until it is answered or refused."""
        deadline, backoff = self._connection.deadline(), Backoff()
        try:
            while True:
                self._repair(deadline)
                try:
                    response = self._send(update, deadline)
                    self._repair_if_can(deadline)
                    return response
                except Error as error:
                    if not is_retryable(error):
                        raise
                    self._broken = True
                    if not backoff.wait(deadline):
                        raise timed_out() from None
        except DeadlineExceeded:
            update.abandoned = self._broken = True
            raise timed_out() from None

    def _send(self, update: Update, deadline: float) -> Any:
        """One try. Notes what became of it."""
        self._outbox.stamp(update)
        try:
            response = self._connection.invoke(update.method, update.message,
                                               deadline)
        except Error as error:
            self._note_error(update, error)
            raise
        self._accepted(update, response)
        return response

    def _accepted(self, update: Update, response: Any) -> None:
        self._outbox.accepted(update, response)
        if response.incarnation != self._incarnation:
            # Another process than the one that answered before, and the
            # channel reconnected without a word: ask what it has.
            self._broken = True

    def _note_error(self, update: Update, error: Error) -> None:
        if error.reason in ENDING:
            raise self._fail(error)
        if is_retryable(error) or isinstance(error, DeadlineExceeded):
            return
        self._outbox.refused(update)

    # After trouble.

    def _check_failed(self) -> None:
        if self._failed is not None:
            raise self._failed

    def _fail(self, error: Error) -> Error:
        self._failed = error
        self._end_stream()
        return error

    def _repair(self, deadline: float) -> None:
        """Takes the session over again if need be, and sends what is missing
        and nobody waits for."""
        self._check_failed()
        if self._broken:
            self._end_stream()
        backoff = Backoff()
        while self._broken:
            self._broken = False
            if not self._try_resume(deadline):
                self._broken = True
                if not backoff.wait(deadline):
                    raise timed_out()

    def _repair_if_can(self, deadline: float) -> None:
        """After an answer; else the next call does."""
        try:
            self._repair(deadline)
        except DeadlineExceeded:
            pass

    def _try_resume(self, deadline: float) -> bool:
        try:
            resumed = self._connection.invoke(
                "ResumeSession", _messages.request_of("ResumeSession")(
                    session=self._outbox.session), deadline)
            self._incarnation = resumed.incarnation
            for update in self._outbox.resume(resumed):
                self._replay(update, deadline)
        except Error as error:
            if is_retryable(error):
                return False
            if isinstance(error, DeadlineExceeded):
                self._broken = True
                raise timed_out() from None
            raise self._fail(error)
        return True

    def _replay(self, update: Update, deadline: float) -> None:
        was_answered = update.answered
        try:
            self._send(update, deadline)
        except NotFound:
            pass  # the rows of a deleted normalizer went with it
        except Error as error:
            if is_retryable(error) or error.reason in ENDING or \
                    isinstance(error, DeadlineExceeded):
                raise
            what = ("was answered, lost in a crash of the server and sent "
                    "again" if was_answered else
                    "was not answered in time and was delivered later")
            raise DataLoss(
                f"{update.name} update {update.sequence} {what}: the server "
                f"refuses it now: {error}; its rows are not counted; open a "
                "new session", reason="UPDATE_LOST") from None

    # Many at a time.

    def submit(self, target: Target, mode: Mode, datatype: int,
               rows: np.ndarray, output: Optional[np.ndarray]) -> Pending:
        try:
            while len(self._due) >= MAX_IN_FLIGHT:
                self.receive()
            if not self._due:
                self._repair(self._connection.deadline())
        except DeadlineExceeded as error:
            raise not_sent(error) from None
        request = normalize_request(target, mode, datatype, rows)
        update = None
        if mode != Mode.NORMALIZE_ONLY:
            update = Update("Normalize", request)
            self._add([update], [target])
        pending = Pending(output)
        self._due.append((pending, request, update))
        if self._stream is None:
            self._open_stream()
        else:
            self._stream.send(request)
        return pending

    def _open_stream(self) -> None:
        """And sends on it all that is due."""
        self._stream = Stream(self._connection)
        for _, request, update in self._due:
            if update is not None:
                self._outbox.stamp(update)
            self._stream.send(request)

    def receive(self) -> None:
        """The oldest answer that is due."""
        deadline, backoff = self._connection.deadline(), Backoff()
        while not self._try_receive(deadline):
            self._broken = True
            if not backoff.wait(deadline):
                raise timed_out()
            self._repair(deadline)

    def _try_receive(self, deadline: float) -> bool:
        """False: the stream broke."""
        self._check_failed()
        if self._stream is None:
            self._open_stream()
        assert self._stream is not None
        try:
            response = self._stream.receive(deadline)
        except DeadlineExceeded:
            raise
        except Error as error:
            if is_retryable(error) or isinstance(error, Internal):
                return False
            raise self._fail(error)
        pending, _, update = self._due[0]
        if response.status.code:
            refusal = from_status(response.status)
            if is_retryable(refusal):
                return False
            if update is not None:
                self._note_error(update, refusal)
            pending.error = refusal
        else:
            if update is not None:
                self._accepted(update, response)
            pending.answer = take_output(response, pending.output)
        self._due.popleft()
        return True

    @property
    def in_flight(self) -> int:
        return len(self._due)

    def drain(self) -> None:
        while self._due:
            self.receive()
        self._end_stream(in_order=True)

    def _end_stream(self, in_order: bool = False) -> None:
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.close(in_order)

    # Merges.

    def exchange(self, exchange: Exchange, targets: List[Target]) -> None:
        self._clear()
        merges = [Update("MergeMoments", merge_request(exchange, i, target))
                  for i, target in enumerate(targets)]
        self._add(merges, targets)
        if len(merges) == 1:
            self._merge_one(exchange, merges[0])
        else:
            self._merge_all(exchange, merges)

    def _merge_one(self, exchange: Exchange, merge: Update) -> None:
        try:
            take_merged(exchange, 0, self._deliver(merge))
        except Error as error:
            if merge.abandoned or self._failed is not None:
                raise
            exchange.set_error(0, error)

    def _merge_all(self, exchange: Exchange, merges: List[Update]) -> None:
        deadline, backoff = self._connection.deadline(), Backoff()
        open_ones = list(enumerate(merges))
        try:
            while True:
                self._repair(deadline)
                open_ones = self._try_merges(exchange, open_ones, deadline)
                if not open_ones:
                    self._repair_if_can(deadline)
                    return
                self._broken = True
                if not backoff.wait(deadline):
                    raise timed_out()
        except DeadlineExceeded:
            self._broken = True
            for _, merge in open_ones:
                merge.abandoned = not merge.answered
            raise timed_out() from None

    def _try_merges(self, exchange: Exchange,
                    merges: List[Tuple[int, Update]],
                    deadline: float) -> List[Tuple[int, Update]]:
        """One message. Those that are to be sent again."""
        request = _messages.ExchangeMomentsRequest()
        for _, merge in merges:
            self._outbox.stamp(merge)
            request.merges.append(merge.message)
        try:
            response = self._connection.invoke("ExchangeMoments", request,
                                               deadline)
        except Error as error:
            if is_retryable(error):
                return merges
            for _, merge in merges:
                self._note_error(merge, error)
            raise
        again = []
        for (i, merge), answer in zip(merges, response.merges):
            if not answer.status.code:
                self._accepted(merge, answer)
                take_merged(exchange, i, answer)
                continue
            refusal = from_status(answer.status)
            self._note_error(merge, refusal)
            if is_retryable(refusal):
                again.append((i, merge))
            else:
                exchange.set_error(i, refusal)
        return again

    # The session's end, and tokens.

    def barrier(self) -> bytes:
        self.drain()
        deadline, backoff = self._connection.deadline(), Backoff()
        while True:
            self._repair(deadline)
            try:
                response = self._connection.invoke(
                    "Barrier", self._outbox.make_barrier(), deadline)
            except Error as error:
                if error.reason in ENDING:
                    raise self._fail(error)
                if not is_retryable(error):
                    raise
                response = None
            if response is not None:
                self._outbox.barrier_done(response)
                if not self._outbox:
                    return response.token
            # The server is away, or another one than the one that answered.
            self._broken = True
            if not backoff.wait(deadline):
                raise timed_out()

    def renewed(self) -> "GrpcSession":
        """The same session, which knows normalizers as they are now: after one
        was reset or deleted."""
        return GrpcSession(self._connection, self._connection.call(
            "ResumeSession", token=self.barrier()))

    def close(self) -> None:
        """Ends the session on the server."""
        self.barrier()
        try:
            self._connection.call("CloseSession", session=self._outbox.session,
                                  epoch=self._outbox.epoch)
        except Error as error:
            # The first try did it, and its answer was lost.
            if error.reason != "SESSION_UNKNOWN":
                raise

    def quiesce(self) -> None:
        """Before a fork: grpcio can't be forked with an open stream."""
        self.drain()

    def abandon(self) -> None:
        """Lets go of it; the server keeps it."""
        self._end_stream()


def merge_request(exchange: Exchange, i: int, target: Target) -> Any:
    request = _messages.MergeMomentsRequest(
        name=target.name, schema_hash=target.schema_hash,
        count=int(exchange.count[i]), mean=exchange.mean[i].tobytes(),
        m2=exchange.m2[i].tobytes(), return_statistics=True,
        mode=(Mode.NORMALIZE_THEN_UPDATE if exchange.before
              else Mode.UPDATE_THEN_NORMALIZE))
    for field in ("feature_counts", "minimum", "maximum"):
        arrays = getattr(exchange, field)
        if arrays is not None:
            setattr(request, field, arrays[i].tobytes())
    return request


def take_merged(exchange: Exchange, i: int, response: Any) -> None:
    for field in OUTPUTS:
        data = getattr(response, field[len("out_"):])
        if data:
            getattr(exchange, field)[i][:] = np.frombuffer(data, "<f8")
    answer = ANSWER.pack(*answer_of(response))
    exchange.table["answer"][i] = np.void(answer)
    exchange.table["code"][i] = 0
