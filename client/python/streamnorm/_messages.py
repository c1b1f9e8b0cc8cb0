"""The messages of streamnorm.v1, from descriptors in a pool of our own.

There is no generated code: that of one protobuf doesn't run with another, and
two packages can't define the same file in protobuf's default pool.
"""

from __future__ import annotations

import pathlib
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

DATA = pathlib.Path(__file__).parent / "data"


def _load_pool() -> Any:
    path = DATA / "descriptors.pb"
    if not path.exists():
        raise ImportError(f"{path}: missing; run client/python/generate.py")
    files = descriptor_pb2.FileDescriptorSet.FromString(path.read_bytes())
    pool = descriptor_pool.DescriptorPool()
    for file in files.file:
        pool.AddSerializedFile(file.SerializeToString())
    return pool


_pool = _load_pool()
VERSION = (DATA / "version").read_text()
# One way of protobuf up to 3, another from 4.22 on.
_class_of: Any = getattr(message_factory, "GetMessageClass", None) or \
    message_factory.MessageFactory(_pool).GetPrototype  # type: ignore


def _message(name: str) -> Any:
    return _class_of(_pool.FindMessageTypeByName(name))


def _v1(name: str) -> Any:
    return _message(f"streamnorm.v1.{name}")


Status = _message("google.rpc.Status")
ErrorInfo = _message("google.rpc.ErrorInfo")
BadRequest = _message("google.rpc.BadRequest")

NormalizeRequest = _v1("NormalizeRequest")
NormalizeResponse = _v1("NormalizeResponse")
MergeMomentsRequest = _v1("MergeMomentsRequest")
ExchangeMomentsRequest = _v1("ExchangeMomentsRequest")
BarrierRequest = _v1("BarrierRequest")
Normalizer = _v1("Normalizer")
Snapshot = _v1("Snapshot")
Scaling = _v1("Scaling")

# Path, request and response class of every RPC, by its name.
METHODS = {
    method.name: (f"/{service.full_name}/{method.name}",
                  _class_of(method.input_type), _class_of(method.output_type))
    for service in (
        _pool.FindServiceByName("streamnorm.v1.NormalizerService"),
        _pool.FindServiceByName("streamnorm.v1.AdminService"))
    for method in service.methods}


def request_of(method: str) -> Any:
    """The class of the requests of `method`."""
    return METHODS[method][1]
