"""An independent client of streamnorm.v1 and what its errors must look like."""

import contextlib
import itertools
import re

import grpc
import numpy as np
import pytest
from google.rpc import error_details_pb2, status_pb2
from streamnorm.v1 import (admin_service_pb2, admin_service_pb2_grpc,
                           normalizer_pb2, normalizer_service_pb2,
                           normalizer_service_pb2_grpc, snapshot_pb2,
                           tensor_pb2)

pb = normalizer_service_pb2
Normalizer = normalizer_pb2.Normalizer
Scaling = normalizer_pb2.Scaling
Window = normalizer_pb2.Window
Nonfinite = normalizer_pb2.NonfinitePolicy
WarmUp = normalizer_pb2.WarmUp
Tensor = tensor_pb2.Tensor
FP16, FP32, FP64, BF16 = (tensor_pb2.FP16, tensor_pb2.FP32, tensor_pb2.FP64,
                          tensor_pb2.BF16)
FeatureStatistics = pb.FeatureStatistics
Code = grpc.StatusCode

DEADLINE_SECONDS = 30
# Relative error of one rounding to the type, and half its smallest number.
TYPES = {FP64: (2e-16, 0), FP32: (2.0 ** -23, 0), FP16: (2.0 ** -10, 2 ** -24),
         BF16: (2.0 ** -7, 0)}
PLAIN = {FP16: "<f2", FP32: "<f4", FP64: "<f8"}
COLUMNS = {"index": "<i8", "count": "<u8", "missing_count": "<u8",
           "infinite_count": "<u8", "state": "u1", "mean": "<f8",
           "variance": "<f8", "sample_variance": "<f8",
           "standard_deviation": "<f8", "offset": "<f8", "scale": "<f8",
           "minimum": "<f8", "maximum": "<f8"}


# Tensors.

def encode(rows, datatype):
    if datatype != BF16:
        return np.ascontiguousarray(rows, PLAIN[datatype]).tobytes()
    bits = np.ascontiguousarray(rows, "<f4").view("<u4")
    # To the nearest, ties to even; a NaN stays one.
    rounded = (bits + 0x7FFF + (bits >> 16 & 1)) >> 16
    quiet = (bits >> 16) | 0x40
    return np.where(np.isnan(rows), quiet, rounded).astype("<u2").tobytes()


def decode(data, datatype):
    if datatype != BF16:
        return np.frombuffer(data, PLAIN[datatype]).astype(np.float64)
    bits = np.frombuffer(data, "<u2").astype("<u4") << 16
    return bits.view("<f4").astype(np.float64)


def tensor(rows, datatype=FP64):
    return Tensor(datatype=datatype, shape=np.shape(rows),
                  data=encode(rows, datatype))


def values(rows, **fields):
    return Tensor(shape=np.shape(rows), values=np.ravel(rows), **fields)


def array(message):
    flat = (np.array(message.values) if message.values
            else decode(message.data, message.datatype))
    return flat.reshape(list(message.shape))


def rounded(rows, datatype):
    """`rows` as the server gets to see them."""
    return decode(encode(rows, datatype), datatype).reshape(np.shape(rows))


def doubles(array_like):
    return np.ascontiguousarray(array_like, "<f8").tobytes()


# What is right.

def oracle(rows):
    """Mean and population variance: two passes in extended precision."""
    x = np.asarray(rows, np.longdouble)
    mean = x.mean(axis=0)
    d = x - mean
    m2 = (d * d).sum(axis=0) - d.sum(axis=0) ** 2 / len(x)
    return mean.astype(np.float64), (m2 / len(x)).astype(np.float64)


def assert_statistics(columns, rows, bound=1e-12):
    mean, variance = oracle(rows)
    spread = np.maximum(np.abs(mean), np.sqrt(variance))
    assert np.all(np.abs(columns["mean"] - mean) <= bound * spread)
    np.testing.assert_allclose(columns["variance"], variance, rtol=bound)
    np.testing.assert_allclose(columns["standard_deviation"],
                               np.sqrt(variance), rtol=bound)
    np.testing.assert_array_equal(columns["minimum"], np.min(rows, axis=0))
    np.testing.assert_array_equal(columns["maximum"], np.max(rows, axis=0))


# Errors.

DETAILS = "grpc-status-details-bin"


def status_of(error):
    """The google.rpc.Status of a failed call, which its code must match."""
    raw = dict(error.trailing_metadata() or {}).get(DETAILS)
    assert raw is not None, f"no details: {error.code()}: {error.details()}"
    status = status_pb2.Status.FromString(raw)
    assert status.code == error.code().value[0]
    assert status.message == error.details()
    return status


def check_status(status, code, reason, field=None, says=()):
    """Reason, domain and, for bad input, `path: got, want` of that path."""
    assert status.code == code.value[0], status
    info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    found = {type(m).__name__ for detail in status.details
             for m in (info, bad) if detail.Unpack(m)}
    assert "ErrorInfo" in found, status
    assert (info.reason, info.domain) == (reason, "streamnorm"), status
    if code == Code.INVALID_ARGUMENT:
        assert "BadRequest" in found and bad.field_violations, status
        path = bad.field_violations[0].field
        assert status.message.startswith(path + ": "), status.message
        assert re.search(r": .+, want .+", status.message), status.message
        if field is not None:
            assert re.match(re.escape(field) + r"($|[.\[])", path), path
    for text in says:
        assert text in status.message, status.message


@contextlib.contextmanager
def refused(code, reason, field=None, says=()):
    with pytest.raises(grpc.RpcError) as caught:
        yield
    assert caught.value.code() == code, caught.value
    check_status(status_of(caught.value), code, reason, field, says)


def invalid(field, says=()):
    return refused(Code.INVALID_ARGUMENT, "INVALID_ARGUMENT", field, says)


def not_found():
    return refused(Code.NOT_FOUND, "NORMALIZER_NOT_FOUND")


# Calls.

class Client:
    """The RPCs with Python arguments. Safe for concurrent use."""

    _ids = itertools.count()

    def __init__(self, address):
        self.channel = grpc.insecure_channel(address, options=[
            ("grpc.max_receive_message_length", -1),
            ("grpc.max_send_message_length", -1),
            ("grpc.enable_http_proxy", 0),
            # Servers of several tests may have had the same address.
            ("grpc.use_local_subchannel_pool", 1)])
        self.rpc = normalizer_service_pb2_grpc.NormalizerServiceStub(
            self.channel)
        self.admin = admin_service_pb2_grpc.AdminServiceStub(self.channel)

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        self.close()

    def close(self):
        self.channel.close()

    def call(self, method, request):
        return getattr(self.rpc, method)(request, timeout=DEADLINE_SECONDS)

    def info(self):
        return self.admin.GetServerInfo(
            admin_service_pb2.GetServerInfoRequest(),
            timeout=DEADLINE_SECONDS)

    def backup(self, backup_id):
        """Every answer; the last one has the backup."""
        return list(self.admin.CreateBackup(
            admin_service_pb2.CreateBackupRequest(backup_id=backup_id),
            timeout=DEADLINE_SECONDS))

    def verify(self):
        """Every answer; the last one has the report."""
        return list(self.admin.VerifyStore(
            admin_service_pb2.VerifyStoreRequest(),
            timeout=DEADLINE_SECONDS))

    def create(self, features, normalizer_id=None, validate_only=False,
               **fields):
        """A normalizer, of an id that no other test has unless one is given."""
        if normalizer_id is None:
            normalizer_id = f"n{next(self._ids)}"
        return self.call("CreateNormalizer", pb.CreateNormalizerRequest(
            normalizer_id=normalizer_id, validate_only=validate_only,
            normalizer=Normalizer(features=features, **fields)))

    def get(self, name):
        return self.call("GetNormalizer", pb.GetNormalizerRequest(name=name))

    def update(self, normalizer, *paths):
        request = pb.UpdateNormalizerRequest(normalizer=normalizer)
        request.update_mask.paths.extend(paths)
        return self.call("UpdateNormalizer", request)

    def delete(self, name, **fields):
        return self.call("DeleteNormalizer",
                         pb.DeleteNormalizerRequest(name=name, **fields))

    def reset(self, name, **fields):
        return self.call("ResetStatistics",
                         pb.ResetStatisticsRequest(name=name, **fields))

    def freeze(self, name):
        return self.call("FreezeNormalizer",
                         pb.FreezeNormalizerRequest(name=name))

    def unfreeze(self, name):
        return self.call("UnfreezeNormalizer",
                         pb.UnfreezeNormalizerRequest(name=name))

    def normalize(self, name, rows, datatype=FP64, **fields):
        return self.call("Normalize",
                         normalize_request(name, rows, datatype, **fields))

    def normalized(self, name, rows, datatype=FP64, **fields):
        return array(self.normalize(name, rows, datatype, **fields).output)

    def look(self, name, rows, datatype=FP64):
        """`rows` normalized; nothing is counted."""
        return self.normalized(name, rows, datatype, mode=pb.NORMALIZE_ONLY)

    def count(self, name, rows, datatype=FP64, **fields):
        """`rows` counted; nothing is normalized."""
        return self.normalize(name, rows, datatype, mode=pb.UPDATE_ONLY,
                              **fields)

    def denormalize(self, name, rows, datatype=FP64, **fields):
        return self.call("Denormalize", pb.DenormalizeRequest(
            name=name, input=tensor(rows, datatype), **fields))

    def merge(self, name, count, mean, m2, **fields):
        return self.call("MergeMoments",
                         merge_request(name, count, mean, m2, **fields))

    def snapshot(self, name, snapshot_id, **fields):
        return self.call("CreateSnapshot", snapshot_pb2.CreateSnapshotRequest(
            parent=name, snapshot_id=snapshot_id, **fields))

    def get_snapshot(self, name):
        return self.call("GetSnapshot",
                         snapshot_pb2.GetSnapshotRequest(name=name))

    def list_snapshots(self, name, **fields):
        return self.call("ListSnapshots", snapshot_pb2.ListSnapshotsRequest(
            parent=name, **fields))

    def delete_snapshot(self, name, **fields):
        return self.call("DeleteSnapshot", snapshot_pb2.DeleteSnapshotRequest(
            name=name, **fields))

    def statistics(self, name, view=pb.GetStatisticsRequest.COLUMNS,
                   read_mask=(), **selection):
        request = pb.GetStatisticsRequest(
            name=name, view=view, selection=pb.FeatureSelection(**selection))
        request.read_mask.paths.extend(read_mask)
        return self.call("GetStatistics", request)

    def columns(self, name, **options):
        answer = self.statistics(name, **options).columns
        return {field: np.frombuffer(getattr(answer, field), kind)
                for field, kind in COLUMNS.items()}

    def open_session(self, label="test"):
        answer = self.call("OpenSession", pb.OpenSessionRequest(client=label))
        return Session(self, answer.session, answer.epoch)

    def resume(self, **fields):
        return self.call("ResumeSession", pb.ResumeSessionRequest(**fields))

    def stream(self, requests):
        return self.rpc.NormalizeStream(requests, timeout=DEADLINE_SECONDS)

    def fingerprint(self, name):
        """Every byte that is known of a normalizer."""
        return (self.get(name).SerializeToString(deterministic=True),
                self.statistics(name).SerializeToString(deterministic=True))


class Session:
    """Numbers the updates of one session. Not thread safe."""

    def __init__(self, client, session, epoch):
        self.client = client
        self.session = session
        self.epoch = epoch

    def id(self, sequence, generation):
        return pb.UpdateId(session=self.session, epoch=self.epoch,
                           sequence=sequence, generation=generation)

    def barrier(self, sent=(), **skipped):
        """`skipped`: sequences to use up, by normalizer id."""
        return self.client.call("Barrier", pb.BarrierRequest(
            session=self.session, epoch=self.epoch, sent=sent, skipped=[
                pb.SkippedSequences(name="normalizers/" + i, sequences=s)
                for i, s in skipped.items()]))

    def close(self):
        return self.client.call("CloseSession", pb.CloseSessionRequest(
            session=self.session, epoch=self.epoch))

    def progress(self, name):
        """What was counted; takes the session over to hear it."""
        answer = self.client.resume(session=self.session)
        assert answer.epoch > self.epoch
        self.epoch = answer.epoch
        return {p.name: p for p in answer.progress}.get(name)


def normalize_request(name, rows, datatype=FP64, **fields):
    return pb.NormalizeRequest(name=name, input=tensor(rows, datatype),
                               **fields)


def merge_request(name, count, mean, m2, **fields):
    for extreme in ("minimum", "maximum"):
        if extreme in fields:
            fields[extreme] = doubles(fields[extreme])
    return pb.MergeMomentsRequest(name=name, count=count, mean=doubles(mean),
                                  m2=doubles(m2), **fields)


@contextlib.contextmanager
def unchanged(client, name):
    before = client.fingerprint(name)
    yield
    assert client.fingerprint(name) == before


def bits_of(window):
    """The positions of the set bits, lowest bit of the first byte first."""
    return [i for i in range(8 * len(window)) if window[i // 8] >> i % 8 & 1]
