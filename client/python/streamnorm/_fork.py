"""What a fork does to clients: the parent goes on as if there had been none,
the child begins anew. Threads and connections don't come along."""

from __future__ import annotations

import ctypes
import os
import sys
import time
import weakref
from typing import Any, Callable, List

from ._errors import Error

# How long a fork waits for a call of another thread.
WAIT_SECONDS = 5

# gRPC stops its threads before a fork, but doesn't wait until they are gone. A
# lock of Abseil's that one still holds on its way out stays locked in the child
# for ever: seen on a machine with more work than cores.
THREADS_END_MICROSECONDS = 10_000

# gRPC runs Python in the child before Python knows that it is one: whoever was
# asked to hand on the GIL waits there for a thread to take it that the child
# doesn't have. So nobody may ask (as threads do after a switch interval) from
# before the fork until after it.
SWITCH_INTERVAL_SECONDS = 0.5

_clients: Any = weakref.WeakSet()
# How to go on.
_held: List[Callable[[], None]] = []
# Of the parent: neither to be used nor to be ended here.
_left_alone: List[Any] = []
# What it was before a fork.
_switch_interval = sys.getswitchinterval()


def _keep_the_gil() -> None:
    global _switch_interval
    if sys.getswitchinterval() != SWITCH_INTERVAL_SECONDS:
        _switch_interval = sys.getswitchinterval()
    sys.setswitchinterval(SWITCH_INTERVAL_SECONDS)
    # Who waits with the old interval gets it now, or asks now.
    time.sleep(2 * _switch_interval)


def _share_the_gil() -> None:
    sys.setswitchinterval(_switch_interval)


def register(client: Any) -> None:
    _clients.add(client)


def _before() -> None:
    """Nothing is on the wire while a process forks, and nothing of grpcio is
    left that a child would have to end: on a busy machine it fails to."""
    for client in list(_clients):
        if not client._lock.acquire(timeout=WAIT_SECONDS):
            continue
        _held.append(client._lock.release)
        if client._session is not None:
            try:
                client._session.quiesce()
            except Error:
                continue  # to be told to who asks next
        connected = client._connected
        if connected is not None and connected.suspend(WAIT_SECONDS):
            _held.append(connected.go_on)
    _keep_the_gil()


def _in_parent() -> None:
    _share_the_gil()
    while _held:
        _held.pop()()


def _in_child() -> None:
    _share_the_gil()
    _held.clear()
    for client in list(_clients):
        _left_alone.append((client._connected, client._transport,
                            client._session, client._server))
        client._server = None
        client._gave_token = False
        client._forget()


@ctypes.CFUNCTYPE(None)
def _let_threads_end() -> None:
    # (PyDLL, not time.sleep: no other thread of Python's may run now.)
    ctypes.PyDLL(None).usleep(THREADS_END_MICROSECONDS)


def _register_in_c() -> None:
    """The handlers of the C library run last registered first: ours, which is
    older than gRPC's, after it."""
    register_atfork = getattr(ctypes.CDLL(None), "__register_atfork", None)
    if register_atfork is not None:  # glibc's pthread_atfork
        register_atfork(_let_threads_end, None, None, None)


_register_in_c()
os.register_at_fork(before=_before, after_in_parent=_in_parent,
                    after_in_child=_in_child)
