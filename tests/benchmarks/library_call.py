"""One Normalize after the other over the C library, through ctypes: what a
Python training job pays that uses no grpcio (client/c/streamnorm.h).
"""

import ctypes
import os

import numpy as np

UPDATE_THEN_NORMALIZE, FP32 = 1, 1


class Error(ctypes.Structure):
    _fields_ = [("code", ctypes.c_int32), ("reason", ctypes.c_char * 64),
                ("message", ctypes.c_char * 1024)]


class Options(ctypes.Structure):
    _fields_ = [("request_timeout_ms", ctypes.c_int64),
                ("max_buffered_updates", ctypes.c_uint64),
                ("max_buffered_bytes", ctypes.c_uint64),
                ("max_in_flight", ctypes.c_uint64),
                ("no_lane", ctypes.c_int32), ("reserved", ctypes.c_int32 * 7)]


class LibraryCall:
    """A session on one normalizer; call it with rows, get normalized rows."""

    def __init__(self, library, address, normalizer, features, lane=True):
        self.normalizer = normalizer.encode()
        self.library = library
        self.error = ctypes.byref(error := Error())
        self.client = library.sn_connect(
            address.encode(), ctypes.byref(Options(no_lane=not lane)),
            self.error)
        if not self.client:
            raise RuntimeError(error.message.decode())
        library.sn_get_or_create_normalizer(self.client, self.normalizer,
                                            features, None, self.error)
        self.session = library.sn_session_open(self.client, b"benchmark",
                                               self.error)
        if error.code:
            raise RuntimeError(error.message.decode())

    def __call__(self, rows):
        normalized = np.empty_like(rows)
        code = self.library.sn_normalize(
            self.session, self.normalizer, UPDATE_THEN_NORMALIZE, FP32,
            *rows.shape, rows.ctypes.data, normalized.ctypes.data, None,
            self.error)
        if code:
            raise RuntimeError(f"code {code}")
        return normalized

    def close(self):
        self.library.sn_session_free(self.session)
        self.library.sn_client_free(self.client)


def load(build):
    """The library of this build."""
    library = ctypes.CDLL(os.path.join(build, "client", "c",
                                       "libstreamnorm.so"))
    text, pointer = ctypes.c_char_p, ctypes.c_void_p
    for name, result, *arguments in [
            ("sn_connect", pointer, text, pointer, pointer),
            ("sn_client_free", None, pointer),
            ("sn_get_or_create_normalizer", ctypes.c_int32, pointer, text,
             ctypes.c_int64, text, pointer),
            ("sn_session_open", pointer, pointer, text, pointer),
            ("sn_session_free", None, pointer),
            ("sn_normalize", ctypes.c_int32, pointer, text, ctypes.c_int32,
             ctypes.c_int32, ctypes.c_uint64, ctypes.c_uint64, pointer,
             pointer, pointer, pointer)]:
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library
