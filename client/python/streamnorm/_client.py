"""Clients: connections, sessions, and what happens to them in a fork."""

from __future__ import annotations

import os
import threading
from typing import Any, Iterator, List, Optional, Sequence

from . import _c_library, _fork
from ._c_session import CTransport
from ._connection import Connection
from ._create import check_existing, create_request, id_of
from ._errors import AlreadyExists, DeadlineExceeded, InvalidArgument, not_sent
from ._exchange import Exchange, fill_entry
from ._grpc_session import GrpcTransport
from ._normalizer import Normalizer
from ._server import PrivateServer
from ._types import Statistics

DEFAULT_ADDRESS = "localhost:50051"
TRANSPORTS = ("auto", "c", "grpc")


def connect(address: Optional[str] = None, *, resume: Optional[bytes] = None,
            timeout: float = 30.0, transport: Optional[str] = None,
            lane: bool = True, name: str = "") -> "Client":
    """A client of the server at `address`.

    `address`: "host:port", "unix:/path", or ":memory:" for a private server
    that ends with the client; default: STREAMNORM_SERVER, or localhost:50051.
    `resume`: the token of a `barrier`, to go on from there.
    `timeout`: seconds that a call tries, reconnecting as needed.
    `transport`: "c" (libstreamnorm.so), "grpc" (grpcio), or "auto": "c" where
    the library is found; default: STREAMNORM_TRANSPORT, or "auto". A forked
    child of a process that used the library takes grpcio.
    `lane`: take the socket past gRPC where the server offers it ("c" only).
    `name`: who this is, for people who read the server's log.

    Unavailable: no server answers. FailedPrecondition, DataLoss: the token is
    not this server's.
    """
    client = Client(address, timeout=timeout, transport=transport, lane=lane,
                    name=name)
    try:
        client.server_info()
        if resume is not None:
            client.resume(resume)
    except BaseException:
        client.abandon()
        raise
    return client


class Client:
    """Made by `connect`. Safe for concurrent use: its one session, which counts
    each update once, is used by one thread at a time. A forked child gets a
    connection and a session of its own when it first uses it; pickled, it
    connects anew where it is unpickled.
    """

    def __init__(self, address: Optional[str] = None, *, timeout: float = 30.0,
                 transport: Optional[str] = None, lane: bool = True,
                 name: str = "") -> None:
        transport = transport or os.environ.get("STREAMNORM_TRANSPORT", "auto")
        if transport not in TRANSPORTS:
            raise InvalidArgument(f"transport: {transport!r}, want one of "
                                  f"{', '.join(TRANSPORTS)}",
                                  field="transport")
        if not timeout > 0:
            raise InvalidArgument(f"timeout: {timeout}, want seconds > 0",
                                  field="timeout")
        self._timeout = timeout
        self._transport_kind = transport
        self._lane = lane
        self._name = name
        self._server: Optional[PrivateServer] = None
        address = address or os.environ.get(
            "STREAMNORM_SERVER") or DEFAULT_ADDRESS
        if address == ":memory:":
            self._server = PrivateServer()
            address = self._server.address
        self.address: str = address
        self._gave_token = False
        self._forget()
        _fork.register(self)

    # Connections, made when they are first needed.

    def _forget(self) -> None:
        """As it is before anything is connected."""
        self._lock = threading.RLock()
        self._connected: Optional[Connection] = None
        self._transport: Any = None
        self._session: Any = None
        self._stale = False  # the session has yet to learn of a reset
        self._generations: Any = {}
        self._max_message_bytes = 0
        self._closed = False

    @property
    def _connection(self) -> Connection:
        connected = self._connected
        if connected is None:
            with self._lock:
                self._check_open()
                if self._connected is None:
                    self._connected = Connection(self.address, self._timeout)
                connected = self._connected
        return connected

    def _check_open(self) -> None:
        if self._closed:
            raise InvalidArgument("client: closed, want an open one",
                                  field="client")

    def _call(self, method: str, **fields: Any) -> Any:
        return self._connection.call(method, **fields)

    def _get_transport(self) -> Any:
        """The lock is held."""
        self._check_open()
        if self._transport is None:
            connection = self._connection  # grpcio comes first: see _c_library
            library = None
            if self._transport_kind != "grpc":
                library = _c_library.find(self._transport_kind == "c")
            self._transport = (
                GrpcTransport(connection) if library is None else
                CTransport(library, self.address, self._timeout, self._lane))
        return self._transport

    def _updating(self) -> Any:
        """The session. The lock is held."""
        session = self._session
        if session is None or self._stale:
            session = self._session = self._fresh_session()
            self._stale = False
        return session

    def _fresh_session(self) -> Any:
        try:
            if self._session is not None:
                return self._session.renewed()
            return self._get_transport().open_session(
                self._name or f"python {os.getpid()}")
        except DeadlineExceeded as error:
            raise not_sent(error) from None

    def _changed(self, name: str, generation: int) -> None:
        """A normalizer as it is now."""
        with self._lock:
            known = self._generations.get(name)
            self._generations[name] = generation
            if self._session is not None and known not in (None, generation):
                self._stale = True

    @property
    def transport(self) -> str:
        """"c" or "grpc"."""
        with self._lock:
            return self._get_transport().kind

    @property
    def max_message_bytes(self) -> int:
        """Largest request; more rows are split."""
        if not self._max_message_bytes:
            self._max_message_bytes = int(
                self.server_info().limits["max_message_bytes"])
        return self._max_message_bytes

    # Resources.

    def server_info(self) -> Any:
        """The ServerInfo message: version, store, limits, lane, ..."""
        return self._call("GetServerInfo")

    def normalizer(self, name: str, features: Optional[int] = None,
                   preset: Optional[str] = None, *,
                   feature_names: Optional[Sequence[str]] = None,
                   **settings: Any) -> Normalizer:
        """The normalizer `name` ([a-z][a-z0-9._-]{0,127}); created if it
        doesn't exist and `features` or `feature_names` say what it is to have.

        `preset`: standard (default), batchnorm, vecnormalize, rsl_rl, keras,
        lerobot, minmax, maxabs; `settings` that win over it: `epsilon`,
        `epsilon_mode` (none, inside_sqrt, add_to_std, floor_std), `clip`,
        `center`, `scale`; and `nan`, `infinity` (skip, reject),
        `minimum_rows`, `warm_up` (center, error, identity), `labels`;
        `window_rows` or `half_life_rows`, so that old rows fade (default: all
        rows count alike); `moments` ("mean": no variance is kept).

        SchemaMismatch: it exists with other features, names or another rule
        than those that are given. NotFound: it doesn't exist, and neither
        `features` nor `feature_names` are given.
        """
        request = create_request(id_of(name), features, preset, feature_names,
                                 settings)
        if request.normalizer.features == 0:
            resource = self._call("GetNormalizer",
                                  name="normalizers/" + id_of(name))
        else:
            resource = self._get_or_create(request)
        check_existing(resource, request.normalizer, settings)
        self._changed(resource.name, resource.generation)
        return Normalizer(self, resource)

    def _get_or_create(self, request: Any) -> Any:
        try:
            return self._connection.call("CreateNormalizer", request)
        except AlreadyExists:
            return self._call("GetNormalizer",
                              name="normalizers/" + request.normalizer_id)

    def normalizers(self) -> Iterator[Any]:
        """The Normalizer messages of all, in the order of their names."""
        token = ""
        while True:
            page = self._call("ListNormalizers", page_token=token,
                              page_size=1000)
            yield from page.normalizers
            token = page.next_page_token
            if not token:
                return

    # Merges.

    def exchange_of(self, normalizers: Sequence[Normalizer], *,
                    before: bool = False, extremes: bool = False,
                    partial: bool = False) -> Exchange:
        """An Exchange with these normalizers for its entries: memory for a
        merge in each training step, made once."""
        return Exchange([n.id for n in normalizers],
                        [n.features for n in normalizers],
                        _Runner(self, list(normalizers)), before=before,
                        extremes=extremes, partial=partial)

    def exchange(self, merges: Sequence[Any], *,
                 before: bool = False) -> List[Statistics]:
        """Merges moments into several normalizers in one round trip.

        `merges`: (normalizer, count, mean, m2) each, at most 1,024: `count`
        rows with mean `mean` and sum of squared deviations `m2`, [features].
        Answers the statistics of each, after its merge or, with `before`,
        before it. In the order given, each exactly once; of one normalizer
        there may be several.

        An entry that is refused raises its error after the others were merged;
        `Exchange.errors` (exchange_of) has them all.
        """
        exchange = self.exchange_of([merge[0] for merge in merges],
                                    before=before)
        for i, (_, count, mean, m2) in enumerate(merges):
            fill_entry(exchange, i, count, mean, m2)
        exchange.run()
        return [exchange.statistics(i) for i in range(len(merges))]

    # The session.

    def barrier(self) -> bytes:
        """Waits until all that was answered is on the server's disk. The token
        is for the job's own checkpoint: a job that restarts from it connects
        with `resume=token`, repeats its steps, and none counts twice."""
        with self._lock:
            token = self._updating().barrier()
            self._gave_token = True
            return token

    def resume(self, token: bytes) -> None:
        """Goes on where `barrier` was. Whoever held that session is refused
        from now on."""
        with self._lock:
            if self._session is not None:
                self._session.abandon()
            self._session = self._get_transport().resume_session(bytes(token))
            self._gave_token = True

    def close(self) -> None:
        """Waits until all that was answered is on disk, and disconnects. Ends
        the session on the server, unless a token of it was given out."""
        with self._lock:
            try:
                if self._session is not None:
                    if self._gave_token:
                        self._session.barrier()
                    else:
                        session, self._session = self._session, None
                        session.close()
            finally:
                self.abandon()

    def abandon(self) -> None:
        """Disconnects, and waits for nothing."""
        with self._lock:
            session, self._session = self._session, None
            transport, self._transport = self._transport, None
            connected, self._connected = self._connected, None
            self._closed = True
            if session is not None:
                session.abandon()
            for part in (transport, connected):
                if part is not None:
                    part.close()
            if self._server is not None:
                self._server.stop()

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, kind: Any, *unused: Any) -> None:
        if kind is None:
            self.close()
        else:
            self.abandon()

    def __repr__(self) -> str:
        return f"<streamnorm.Client of {self.address}>"

    def __reduce__(self) -> Any:
        return _unpickle, (self.address, self._timeout, self._transport_kind,
                           self._lane, self._name)


def _unpickle(address: str, timeout: float, transport: str, lane: bool,
              name: str) -> Client:
    return Client(address, timeout=timeout, transport=transport, lane=lane,
                  name=name)


class _Runner:
    """Carries an Exchange over its client's session."""

    def __init__(self, client: Client, normalizers: List[Normalizer]) -> None:
        self._client = client
        self._normalizers = normalizers
        self._targets = [n.target for n in normalizers]

    def __call__(self, exchange: Exchange) -> None:
        for normalizer in self._normalizers:
            normalizer.check_not_frozen()
        client = self._client
        with client._lock:
            client._updating().exchange(exchange, self._targets)
