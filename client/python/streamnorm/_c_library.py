"""client/c/streamnorm.h through ctypes, where the library is to be found."""

from __future__ import annotations

import contextlib
import ctypes
import os
import pathlib
from ctypes import (Structure, c_char, c_char_p, c_int32, c_int64, c_size_t,
                    c_uint64, c_void_p)
from typing import Any, Iterator, Optional

from ._errors import Error, FailedPrecondition, make_error

ABI_VERSION = 1


class CError(Structure):
    _fields_ = [("code", c_int32), ("reason", c_char * 64),
                ("message", c_char * 1024)]

    def to_error(self) -> Error:
        return make_error(self.code, self.message.decode(errors="replace"),
                          self.reason.decode())


class COptions(Structure):
    _fields_ = [("request_timeout_ms", c_int64),
                ("max_buffered_updates", c_uint64),
                ("max_buffered_bytes", c_uint64), ("max_in_flight", c_uint64),
                ("no_lane", c_int32), ("reserved", c_int32 * 7)]


# Result, then arguments. Memory is passed by its address.
FUNCTIONS: Any = {
    "sn_abi_version": (c_int32,),
    "sn_connect": (c_void_p, c_char_p, c_void_p, c_void_p),
    "sn_client_free": (None, c_void_p),
    "sn_normalize_only": (c_int32, c_void_p, c_char_p, c_int32, c_uint64,
                          c_uint64, c_void_p, c_void_p, c_void_p, c_void_p),
    "sn_session_open": (c_void_p, c_void_p, c_char_p, c_void_p),
    "sn_session_resume": (c_void_p, c_void_p, c_char_p, c_size_t, c_void_p),
    "sn_session_free": (None, c_void_p),
    "sn_normalize": (c_int32, c_void_p, c_char_p, c_int32, c_int32, c_uint64,
                     c_uint64, c_void_p, c_void_p, c_void_p, c_void_p),
    "sn_submit": (c_int32, c_void_p, c_char_p, c_int32, c_int32, c_uint64,
                  c_uint64, c_void_p, c_void_p),
    "sn_receive": (c_int32, c_void_p, c_void_p, c_size_t, c_void_p, c_void_p),
    "sn_in_flight": (c_uint64, c_void_p),
    "sn_exchange_moments": (c_int32, c_void_p, c_void_p, c_size_t, c_void_p),
    "sn_barrier": (c_int32, c_void_p, c_void_p, c_void_p, c_void_p),
    "sn_session_close": (c_int32, c_void_p, c_void_p),
}


def _candidates() -> Iterator[str]:
    beside = pathlib.Path(__file__).parent / "libstreamnorm.so"
    if beside.exists():
        yield str(beside)
    yield "libstreamnorm.so.1"  # the loader's path


def _load(path: str) -> Any:
    library = ctypes.CDLL(path)
    for name, (result, *arguments) in FUNCTIONS.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    version = library.sn_abi_version()
    if version != ABI_VERSION:
        raise OSError(f"{path}: ABI version {version}, want {ABI_VERSION}")
    return library


_library: Optional[Any] = None
_connected_by = 0  # the process that first did


@contextlib.contextmanager
def connecting() -> Iterator[None]:
    """Around sn_connect. The library's gRPC (which is not grpcio's) reads the
    variable when it is first used. Its fork handlers crash processes that
    fork; without them a fork doesn't touch it, as long as the child keeps away
    from it, which `find` sees to."""
    global _connected_by
    if _connected_by:
        yield
        return
    _connected_by = os.getpid()
    variable = "GRPC_ENABLE_FORK_SUPPORT"
    before = os.environ.get(variable, "")
    os.environ[variable] = "0"
    try:
        yield
    finally:
        os.environ[variable] = before


def find(required: bool = False) -> Optional[Any]:
    """The library of STREAMNORM_C_LIBRARY, beside the package or of the loader;
    None if there is none and it is not `required`, and in a child of a process
    that used it: threads of its gRPC don't come along in a fork."""
    global _library
    if _connected_by not in (0, os.getpid()):
        return None
    if _library is not None:
        return _library
    named = os.environ.get("STREAMNORM_C_LIBRARY")
    problems = []
    for path in [named] if named else _candidates():
        try:
            _library = _load(path)
            return _library
        except (OSError, AttributeError) as error:
            problems.append(str(error))
    if required or named:
        raise FailedPrecondition(
            "libstreamnorm.so: " + "; ".join(problems),
            hint="STREAMNORM_C_LIBRARY says where it is; transport='grpc' "
                 "does without")
    return None
