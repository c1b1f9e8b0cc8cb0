"""What StreamNorm adds to a training step, in turns with its peers.

  training_step.py BUILD [--rounds N] [--seconds S]

An exchange of moments from Python, over the lane and over grpcio, beside a bare
socket echo of as many bytes (the server in C++, the client here in Python); and
a step of a small net, beside one with BatchNorm1d.
"""

import argparse
import os
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import time

import numpy as np
import torch

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.realpath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "client", "python"))

import streamnorm  # noqa: E402
import streamnorm.torch as sn  # noqa: E402

BATCH, WIDTH, DEPTH = 4, 64, 3


def socket_echo(path, size):
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(path)
    frame = struct.pack("=I", size) + bytes(size)
    answer = memoryview(bytearray(len(frame)))

    def call():
        connection.sendall(frame)
        got = 0
        while got < len(frame):
            got += connection.recv_into(answer[got:])
    return call


def exchange_call(client, features):
    exchange = client.exchange_of([client.normalizer(
        f"exchange-{features}", features, window_rows=1000)])
    exchange.count[0] = BATCH
    exchange.mean[0][:] = np.arange(features)
    exchange.m2[0][:] = 3
    return exchange.run


def training_step(norm, convert):
    layers = []
    for _ in range(DEPTH):
        layers += [torch.nn.Linear(WIDTH, WIDTH), norm(WIDTH),
                   torch.nn.ReLU()]
    model = convert(torch.nn.Sequential(*layers))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    x = torch.randn(BATCH, WIDTH)

    def call():
        loss = model(x).square().mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
    return call


def in_turns(calls, rounds, seconds):
    """Medians of each call in each round, in microseconds."""
    for call in calls.values():
        for _ in range(50):
            call()
    found = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            times, end = [], time.perf_counter() + seconds
            while time.perf_counter() < end:
                begin = time.perf_counter()
                call()
                times.append((time.perf_counter() - begin) * 1e6)
            found[name].append(statistics.median(times))
    return found


def print_table(title, found, peer, goals):
    print(f"{title:34}{'p50 us':>9}  / {peer} (goal)")
    for name, medians in found.items():
        ratio = statistics.median(
            a / b for a, b in zip(medians, found[peer]))
        note = f"{ratio:.2f}"
        if name in goals:
            note += (f" (<= {goals[name]}: "
                     f"{'yes' if ratio <= goals[name] else 'NO'})")
        print(f"{name:34}{statistics.median(medians):9.1f}  {note}")
    print(flush=True)


def serve(command, folder, name):
    path = os.path.join(folder, name)
    server = subprocess.Popen(
        [*command, "--listen", f"unix:{path}", "--data_dir", path + ".data"],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    server.stdout.readline()
    return server, path


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("build")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.5)
    arguments = parser.parse_args()
    timing = arguments.rounds, arguments.seconds
    os.environ["STREAMNORM_C_LIBRARY"] = os.path.join(
        arguments.build, "client", "c", "libstreamnorm.so")
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        server, path = serve([os.path.join(arguments.build, "server",
                                           "streamnorm-server")], folder, "s")
        echo, echo_path = serve([os.path.join(
            arguments.build, "tests", "benchmarks",
            "streamnorm-socket-echo")], folder, "e")
        try:
            lane = streamnorm.connect(f"unix:{path}", transport="c")
            by_grpc = streamnorm.connect(f"unix:{path}", transport="grpc")
            for features in (64, 1024):
                found = in_turns({
                    "socket echo": socket_echo(echo_path, 16 * features),
                    "exchange, lane": exchange_call(lane, features),
                    "exchange, grpcio": exchange_call(by_grpc, features),
                }, *timing)
                print_table(f"EXCHANGE OF {features} FEATURES", found,
                            "socket echo", {"exchange, lane": 2})
                faster = statistics.median(
                    a / b for a, b in zip(found["exchange, grpcio"],
                                          found["exchange, lane"]))
                print(f"The lane is {faster:.1f}x faster than grpcio (>= 3: "
                      f"{'yes' if faster >= 3 else 'NO'})\n")
            norm = torch.nn.BatchNorm1d
            found = in_turns({
                "BatchNorm1d": training_step(norm, lambda model: model),
                "StreamNorm1d, sync": training_step(
                    norm, lambda m: sn.convert(m, lane, "step-sync")),
                "StreamNorm1d, async": training_step(
                    norm, lambda m: sn.convert(m, lane, "step-async",
                                               exchange="async")),
            }, *timing)
            print_table(f"STEP OF {DEPTH} LAYERS OF {WIDTH}, BATCH {BATCH}",
                        found, "BatchNorm1d", {"StreamNorm1d, async": 1.5})
            for name in list(found)[1:]:
                more = statistics.median(
                    (a - b) / DEPTH for a, b in zip(found[name],
                                                    found["BatchNorm1d"]))
                print(f"{name}: {more:.0f} us more for each layer")
        finally:
            server.kill()
            echo.kill()


if __name__ == "__main__":
    main()
