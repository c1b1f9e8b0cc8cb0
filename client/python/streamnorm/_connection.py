"""One gRPC channel, and calls on it that are tried until the deadline."""

from __future__ import annotations

import contextlib
import threading
import time
from typing import Any, Dict, Iterator, Optional

import grpc

from . import _messages
from ._errors import Error, from_rpc_error, is_retryable

OPTIONS = [
    ("grpc.max_receive_message_length", -1),  # the server's limit holds
    ("grpc.max_send_message_length", -1),
    # A server that restarts is to be found again soon.
    ("grpc.initial_reconnect_backoff_ms", 20),
    ("grpc.min_reconnect_backoff_ms", 2000),  # longest attempt to connect
    ("grpc.max_reconnect_backoff_ms", 500),
    # Clients of one process don't share a connection.
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_http_proxy", 0),
]


def raw(message: bytes) -> bytes:
    return message


class Backoff:
    """Pauses between tries: 5 ms, doubled up to 500."""

    def __init__(self) -> None:
        self._pause = 0.0025

    def wait(self, deadline: float) -> bool:
        """False: the deadline would come first."""
        self._pause = min(2 * self._pause, 0.5)
        if time.monotonic() + self._pause >= deadline:
            return False
        time.sleep(self._pause)
        return True


class Connection:
    """Safe for concurrent use. Not to be taken over a fork."""

    def __init__(self, address: str, timeout: float) -> None:
        self.address = address
        self.timeout = timeout
        self._channel: Optional[Any] = None  # while there is none, one is made
        self._callables: Dict[str, Any] = {}
        self._calls = 0  # of `invoke`, at this moment
        self._changing = threading.Condition()

    def deadline(self) -> float:
        return time.monotonic() + self.timeout

    @property
    def channel(self) -> Any:
        with self._changing:
            if self._channel is None:
                self._channel = grpc.insecure_channel(self.address,
                                                      options=OPTIONS)
            return self._channel

    def _callable(self, method: str) -> Any:
        found = self._callables.get(method)
        if found is None:
            path, request, response = _messages.METHODS[method]
            found = self._callables[method] = self.channel.unary_unary(
                path, request_serializer=request.SerializeToString,
                response_deserializer=response.FromString)
        return found

    @contextlib.contextmanager
    def _calling(self, method: str) -> Iterator[Any]:
        with self._changing:
            self._calls += 1
            call = self._callable(method)
        try:
            yield call
        finally:
            with self._changing:
                self._calls -= 1
                self._changing.notify_all()

    def invoke(self, method: str, request: Any, deadline: float) -> Any:
        """One try."""
        with self._calling(method) as call:
            left = max(deadline - time.monotonic(), 0.001)
            try:
                return call(request, timeout=left)
            except grpc.RpcError as error:
                raise from_rpc_error(error) from None

    def call(self, method: str, request: Optional[Any] = None,
             **fields: Any) -> Any:
        """Tries until the timeout; `fields` make the request."""
        if request is None:
            request = _messages.request_of(method)(**fields)
        deadline, backoff = self.deadline(), Backoff()
        while True:
            try:
                return self.invoke(method, request, deadline)
            except Error as error:
                if not is_retryable(error) or not backoff.wait(deadline):
                    raise self._explained(error)

    def _explained(self, error: Error) -> Error:
        if is_retryable(error) and not error.reason:
            return type(error)(
                f"{self.address}: no answer within {self.timeout:g} s "
                f"({error})", hint="is the server running, and is this its "
                "address? STREAMNORM_SERVER sets the default")
        return error

    def stream(self, requests: Any) -> Any:
        """NormalizeStream; `requests` iterates over serialized messages."""
        path, _, response = _messages.METHODS["NormalizeStream"]
        return self.channel.stream_stream(
            path, request_serializer=raw,
            response_deserializer=response.FromString)(requests)

    def suspend(self, seconds: float) -> bool:
        """Before a fork, without a stream: nothing of gRPC is left once the
        calls of other threads are done, and none begins until `go_on`. False:
        they took longer than that; it is as it was."""
        self._changing.acquire()
        if not self._changing.wait_for(lambda: self._calls == 0, seconds):
            self._changing.release()
            return False
        self.close()
        return True

    def go_on(self) -> None:
        self._changing.release()

    def close(self) -> None:
        """The next call connects again."""
        with self._changing:
            channel, self._channel = self._channel, None
            self._callables.clear()
        if channel is not None:
            channel.close()
