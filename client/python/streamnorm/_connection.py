"""One gRPC channel, and calls on it that are tried until the deadline."""

from __future__ import annotations

import time
from typing import Any, Dict, Optional

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
        self.channel = grpc.insecure_channel(address, options=OPTIONS)
        self._callables: Dict[str, Any] = {}

    def deadline(self) -> float:
        return time.monotonic() + self.timeout

    def _callable(self, method: str) -> Any:
        found = self._callables.get(method)
        if found is None:
            path, request, response = _messages.METHODS[method]
            found = self._callables[method] = self.channel.unary_unary(
                path, request_serializer=request.SerializeToString,
                response_deserializer=response.FromString)
        return found

    def invoke(self, method: str, request: Any, deadline: float) -> Any:
        """One try."""
        left = max(deadline - time.monotonic(), 0.001)
        try:
            return self._callable(method)(request, timeout=left)
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

    def close(self) -> None:
        self.channel.close()
