"""client/c/streamnorm.h through ctypes, by its text and nothing else."""

import ctypes
import os
from ctypes import (POINTER, Structure, byref, c_char, c_char_p, c_double,
                    c_int32, c_int64, c_size_t, c_uint8, c_uint64, c_void_p)

import numpy as np

FP32, FP64 = 1, 2
DTYPES = {np.dtype("<f4"): FP32, np.dtype("<f8"): FP64, np.dtype("<f2"): 3}
UPDATE_THEN_NORMALIZE, NORMALIZE_THEN_UPDATE = 1, 2
NORMALIZE_ONLY, UPDATE_ONLY = 3, 4


class Error(Structure):
    _fields_ = [("code", c_int32), ("reason", c_char * 64),
                ("message", c_char * 1024)]


class Options(Structure):
    _fields_ = [("request_timeout_ms", c_int64),
                ("max_buffered_updates", c_uint64),
                ("max_buffered_bytes", c_uint64), ("max_in_flight", c_uint64),
                ("no_lane", c_int32), ("reserved", c_int32 * 7)]


class Answer(Structure):
    _fields_ = [(name, c_uint64) for name in (
        "revision", "row_count", "counted_rows", "durable_sequence",
        "nonfinite_values", "clipped_values")] + [
        (name, c_uint8) for name in (
            "duplicate", "warming_up", "frozen", "over_lane")] + [
        ("reserved", c_uint8 * 4)]


class Moments(Structure):
    _fields_ = [("normalizer", c_char_p), ("count", c_uint64),
                ("features", c_uint64), ("mean", POINTER(c_double)),
                ("m2", POINTER(c_double)),
                ("feature_counts", POINTER(c_uint64)),
                ("minimum", POINTER(c_double)),
                ("maximum", POINTER(c_double)), ("before", c_int32),
                ("reserved", c_int32)] + [
        (name, POINTER(c_double)) for name in (
            "out_mean", "out_variance", "out_offset", "out_scale")] + [
        ("answer", Answer), ("error", Error)]


class CError(Exception):
    def __init__(self, error):
        super().__init__(error.message.decode())
        self.code = error.code
        self.reason = error.reason.decode()


def load(path=None):
    library = ctypes.CDLL(path or os.environ["STREAMNORM_C_LIBRARY"])
    for name, result, *arguments in [
            ("sn_abi_version", c_int32),
            ("sn_connect", c_void_p, c_char_p, c_void_p, c_void_p),
            ("sn_client_free", None, c_void_p),
            ("sn_get_or_create_normalizer", c_int32, c_void_p, c_char_p,
             c_int64, c_char_p, c_void_p),
            ("sn_delete_normalizer", c_int32, c_void_p, c_char_p, c_void_p),
            ("sn_reset_statistics", c_int32, c_void_p, c_char_p, c_void_p),
            ("sn_normalize_only", c_int32, c_void_p, c_char_p, c_int32,
             c_uint64, c_uint64, c_void_p, c_void_p, c_void_p, c_void_p),
            ("sn_get_statistics", c_int32, c_void_p, c_char_p, c_uint64,
             c_void_p, c_void_p, c_void_p, c_void_p, c_void_p, c_void_p),
            ("sn_session_open", c_void_p, c_void_p, c_char_p, c_void_p),
            ("sn_session_resume", c_void_p, c_void_p, c_void_p, c_size_t,
             c_void_p),
            ("sn_session_free", None, c_void_p),
            ("sn_normalize", c_int32, c_void_p, c_char_p, c_int32, c_int32,
             c_uint64, c_uint64, c_void_p, c_void_p, c_void_p, c_void_p),
            ("sn_submit", c_int32, c_void_p, c_char_p, c_int32, c_int32,
             c_uint64, c_uint64, c_void_p, c_void_p),
            ("sn_receive", c_int32, c_void_p, c_void_p, c_size_t, c_void_p,
             c_void_p),
            ("sn_in_flight", c_uint64, c_void_p),
            ("sn_exchange_moments", c_int32, c_void_p, c_void_p, c_size_t,
             c_void_p),
            ("sn_barrier", c_int32, c_void_p, c_void_p, c_void_p, c_void_p),
            ("sn_session_close", c_int32, c_void_p, c_void_p)]:
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


class Client:
    def __init__(self, address, **options):
        self.lib = load()
        self.error = Error()
        self.pointer = self.made(self.lib.sn_connect(
            address.encode(), byref(Options(**options)), byref(self.error)))

    def made(self, pointer):
        if not pointer:
            raise CError(self.error)
        return pointer

    def call(self, name, *arguments):
        code = getattr(self.lib, name)(*arguments, byref(self.error))
        assert code == self.error.code
        if code:
            raise CError(self.error)

    def create(self, name, features, preset=None):
        self.call("sn_get_or_create_normalizer", self.pointer, name.encode(),
                  features, preset)

    def statistics(self, name, features):
        columns = [np.empty(features) for _ in range(4)]
        rows = c_uint64()
        self.call("sn_get_statistics", self.pointer, name.encode(), features,
                  *(c.ctypes.data for c in columns), byref(rows))
        return columns, rows.value

    def normalize_only(self, name, x):
        z = np.empty_like(x)
        self.call("sn_normalize_only", self.pointer, name.encode(),
                  DTYPES[x.dtype], *x.shape, x.ctypes.data, z.ctypes.data,
                  None)
        return z

    def session(self, token=None):
        if token is None:
            return Session(self, self.made(self.lib.sn_session_open(
                self.pointer, b"test", byref(self.error))))
        return Session(self, self.made(self.lib.sn_session_resume(
            self.pointer, token, len(token), byref(self.error))))

    def close(self):
        self.lib.sn_client_free(self.pointer)


class Session:
    def __init__(self, client, pointer):
        self.client, self.pointer = client, pointer
        self.answer = Answer()

    def normalize(self, name, x, mode=UPDATE_THEN_NORMALIZE):
        z = np.empty_like(x)
        self.client.call("sn_normalize", self.pointer, name.encode(), mode,
                         DTYPES[x.dtype], *x.shape, x.ctypes.data,
                         z.ctypes.data, byref(self.answer))
        return z

    def submit(self, name, x, mode=UPDATE_THEN_NORMALIZE):
        self.client.call("sn_submit", self.pointer, name.encode(), mode,
                         DTYPES[x.dtype], *x.shape, x.ctypes.data)

    def receive(self, like):
        z = np.empty_like(like)
        self.client.call("sn_receive", self.pointer, z.ctypes.data, z.nbytes,
                         byref(self.answer))
        return z

    def in_flight(self):
        return self.client.lib.sn_in_flight(self.pointer)

    def exchange(self, moments):
        self.client.call("sn_exchange_moments", self.pointer, moments,
                         len(moments))

    def barrier(self):
        room = c_size_t(0)
        try:
            self.client.call("sn_barrier", self.pointer, None, byref(room))
        except CError as error:
            assert error.code == 11
        token = ctypes.create_string_buffer(room.value)
        self.client.call("sn_barrier", self.pointer, token, byref(room))
        return token.raw[:room.value]

    def close(self):
        self.client.call("sn_session_close", self.pointer)
        self.free()

    def free(self):
        self.client.lib.sn_session_free(self.pointer)
