#!/usr/bin/python3
"""What a competent person writes in an afternoon: Normalize and NormalizeStream
of the same .proto with grpcio and NumPy. Nothing is kept, no session is known.

  naive_server.py --listen ADDRESS --data_dir DIR

DIR gets the generated stubs.
"""

import argparse
import os
import subprocess
import sys
import threading
from concurrent import futures

os.environ["OPENBLAS_NUM_THREADS"] = "1"  # the batches are small

import grpc  # noqa: E402  after what it reads
import numpy as np  # noqa: E402

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.realpath(__file__))))


class RunningStatistics:
    """Mean and sum of squared deviations per feature (Chan et al.)."""

    def __init__(self, features):
        self.lock = threading.Lock()
        self.count = 0
        self.mean = np.zeros(features)
        self.m2 = np.zeros(features)

    def normalize(self, x):
        """Counts the rows of `x`; answers them normalized, and the count."""
        n = len(x)
        mean = x.mean(axis=0, dtype=np.float64)
        m2 = np.square(x - mean).sum(axis=0)
        with self.lock:
            total = self.count + n
            distance = mean - self.mean
            self.m2 += m2 + distance**2 * (self.count * n / total)
            self.mean += distance * (n / total)
            self.count = total
            scale = 1 / np.sqrt(self.m2 / total)
            z = ((x - self.mean) * scale).astype(np.float32)
        return z, total


class NaiveServicer:
    def __init__(self, pb):
        self.pb = pb
        self.lock = threading.Lock()
        self.statistics = {}

    def statistics_of(self, name, features):
        with self.lock:
            return self.statistics.setdefault(name,
                                              RunningStatistics(features))

    def Normalize(self, request, context):
        tensor = request.input
        x = np.frombuffer(tensor.data, np.float32).reshape(tensor.shape)
        z, total = self.statistics_of(request.name,
                                      x.shape[1]).normalize(x)
        response = self.pb.NormalizeResponse(row_count=total,
                                             counted_rows=len(x))
        response.output.datatype = tensor.datatype
        response.output.shape.extend(tensor.shape)
        response.output.data = z.tobytes()
        return response

    def NormalizeStream(self, requests, context):
        for request in requests:
            yield self.Normalize(request, context)


def import_stubs(directory):
    subprocess.run([os.path.join(ROOT, "run"), "stubs", directory], check=True,
                   stdout=sys.stderr)
    sys.path.insert(0, directory)
    from streamnorm.v1 import (normalizer_service_pb2,
                               normalizer_service_pb2_grpc)
    return normalizer_service_pb2, normalizer_service_pb2_grpc


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--listen", required=True)
    parser.add_argument("--data_dir", required=True)
    args = parser.parse_args()
    pb, pb_grpc = import_stubs(args.data_dir)
    # A stream holds a thread as long as it lives: enough for every client.
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=32), options=[
        ("grpc.max_receive_message_length", -1),
        ("grpc.max_send_message_length", -1)])
    # Other methods answer UNIMPLEMENTED.
    servicer = type("Servicer",
                    (NaiveServicer, pb_grpc.NormalizerServiceServicer), {})
    pb_grpc.add_NormalizerServiceServicer_to_server(servicer(pb), server)
    server.add_insecure_port(args.listen)
    server.start()
    print(f"listening on {args.listen}", flush=True)
    server.wait_for_termination()


if __name__ == "__main__":
    main()
