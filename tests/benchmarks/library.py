"""What one Normalize of 4x32 costs a Python training job: over the C library,
over grpcio on the same unix socket, and by NumPy in its own process. One in
flight, in turns; the ratio is the median of the rounds' ratios.

  library.py BUILD [--rounds N] [--seconds S]
"""

import argparse
import contextlib
import itertools
import os
import queue
import statistics
import subprocess
import sys
import tempfile
import time

import grpc
import numpy as np

import library_call
from kernels_peers import numpy_step

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.realpath(__file__))))
ROWS, FEATURES = 4, 32
GOAL = 3
OURS = "C library, lane"


class GrpcioCall:
    """A session over grpcio and the generated stubs, without a library."""

    def __init__(self, address, by_stream):
        from streamnorm.v1 import (normalizer_service_pb2 as pb,
                                   normalizer_service_pb2_grpc as pb_grpc)
        self.pb = pb
        self.channel = grpc.insecure_channel(address)
        stub = pb_grpc.NormalizerServiceStub(self.channel)
        name = f"grpcio-{'stream' if by_stream else 'unary'}"
        normalizer = pb.CreateNormalizerRequest(normalizer_id=name)
        normalizer.normalizer.features = FEATURES
        self.normalizer = stub.CreateNormalizer(normalizer)
        self.session = stub.OpenSession(pb.OpenSessionRequest())
        self.sequence = itertools.count(1)
        self.call = self.by_stream if by_stream else stub.Normalize
        if by_stream:
            self.requests = queue.SimpleQueue()
            self.answers = stub.NormalizeStream(iter(self.requests.get, None))

    def by_stream(self, request):
        self.requests.put(request)
        return next(self.answers)

    def __call__(self, rows):
        request = self.pb.NormalizeRequest(name=self.normalizer.name)
        update = request.update_id
        update.session = self.session.session
        update.epoch = self.session.epoch
        update.sequence = next(self.sequence)
        update.generation = self.normalizer.generation
        tensor = request.input
        tensor.datatype = 1  # FP32
        tensor.shape.extend(rows.shape)
        tensor.data = rows.tobytes()
        answer = self.call(request)
        return np.frombuffer(answer.output.data,
                             np.float32).reshape(rows.shape)

    def close(self):
        if self.call == self.by_stream:
            self.requests.put(None)
        self.channel.close()


@contextlib.contextmanager
def running_server(build, directory):
    address = f"unix:{directory}/socket"
    with subprocess.Popen(
            [os.path.join(build, "server", "streamnorm-server"), "--listen",
             address, "--data_dir", os.path.join(directory, "data")],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as server:
        try:
            if not server.stdout.readline().startswith(b"listening on"):
                raise RuntimeError("the server did not start")
            yield address, server.pid
        finally:
            server.kill()


def cpu_us_of(pid):
    """User and system time of a process: proc(5), stat, fields 14 and 15."""
    with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    return sum(map(int, fields[11:13])) * 1e6 / os.sysconf("SC_CLK_TCK")


def measure(call, seconds, server_pid):
    """p50, p99 and CPU of both sides, in microseconds a call."""
    rows = np.random.default_rng(1).normal(3, 2, (ROWS, FEATURES))
    rows = rows.astype(np.float32)
    for _ in range(20):
        call(rows)
    times = []
    client, server = -time.process_time() * 1e6, -cpu_us_of(server_pid)
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        before = time.perf_counter()
        call(rows)
        times.append((time.perf_counter() - before) * 1e6)
    client += time.process_time() * 1e6
    server += cpu_us_of(server_pid)
    times.sort()
    return {"p50": statistics.median(times),
            "p99": times[len(times) * 99 // 100],
            "client": client / len(times), "server": server / len(times)}


def print_table(rounds):
    print(f"{'ONE 4x32 BY PYTHON':26}{'p50 us':>9}{'p99 us':>9}"
          f"{'CPU us client':>15}{'server':>8}  {OURS} IS FASTER (goal)")
    for name, measured in rounds.items():
        row = [statistics.median(m[key] for m in measured)
               for key in ("p50", "p99", "client", "server")]
        ratio = statistics.median(
            a["p50"] / b["p50"] for a, b in zip(measured, rounds[OURS]))
        note = f"{ratio:.2f}"
        if name.startswith("grpcio"):
            note += f" (>= {GOAL}: {'yes' if ratio >= GOAL else 'NO'})"
        print(f"{name:26}{row[0]:9.1f}{row[1]:9.1f}{row[2]:15.1f}"
              f"{row[3]:8.1f}  {note}")
    print(flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("build")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1)
    args = parser.parse_args()
    library = library_call.load(args.build)
    with tempfile.TemporaryDirectory() as directory:
        subprocess.run([os.path.join(ROOT, "run"), "stubs", directory],
                       check=True)
        sys.path.insert(0, directory)
        with running_server(args.build, directory) as (address, pid):
            calls = {"NumPy, in the process": numpy_step(FEATURES),
                     "grpcio, unary": GrpcioCall(address, False),
                     "grpcio, stream": GrpcioCall(address, True)}
            calls[OURS] = library_call.LibraryCall(library, address,
                                                   "lane", FEATURES)
            calls["C library, no lane"] = library_call.LibraryCall(
                library, address, "no-lane", FEATURES, lane=False)
            rounds = {name: [] for name in calls}
            for _ in range(args.rounds):
                for name, call in calls.items():
                    rounds[name].append(measure(call, args.seconds, pid))
            for call in calls.values():
                getattr(call, "close", lambda: None)()
    print_table(rounds)


if __name__ == "__main__":
    main()
