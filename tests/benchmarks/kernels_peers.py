"""How long others take to count a batch and normalize it with the statistics
after it: NumPy, scikit-learn's StandardScaler, PyTorch's BatchNorm1d. One
thread, FP32, hot data. Prints nanoseconds per batch.

  kernels_peers.py [ROWSxFEATURES...]
"""

import math
import os
import statistics
import sys
import time
import warnings

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[variable] = "1"

import numpy as np  # noqa: E402  after what it reads

SHAPES = [(4, 32), (4, 1024), (256, 1024), (8192, 1024)]


def numpy_step(features):
    state = {"n": 0, "mean": np.zeros(features), "m2": np.zeros(features)}

    def step(x):
        n = len(x)
        total = state["n"] + n
        mean = x.mean(axis=0, dtype=np.float64)
        m2 = np.square(x - mean).sum(axis=0)
        distance = mean - state["mean"]
        state["m2"] += m2 + distance**2 * (state["n"] * n / total)
        state["mean"] += distance * (n / total)
        state["n"] = total
        scale = 1 / np.sqrt(state["m2"] / total)
        return ((x - state["mean"]) * scale).astype(np.float32)

    return step


def sklearn_step(_):
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler()

    def step(x):
        scaler.partial_fit(x)
        return scaler.transform(x)

    return step


def torch_step(features):
    import torch

    torch.set_num_threads(1)
    norm = torch.nn.BatchNorm1d(features, affine=False).train()

    def step(x):
        with torch.no_grad():
            return norm(torch.from_numpy(x))

    return step


PEERS = {"numpy": numpy_step, "sklearn": sklearn_step, "torch": torch_step}


def measure(make_step, rows, features, rounds):
    """The median CPU time of a call over rounds of some milliseconds."""
    x = np.random.default_rng(1).normal(3, 2, (rows, features))
    x = x.astype(np.float32)
    step = make_step(features)
    start = time.thread_time_ns()
    for _ in range(3):
        step(x)
    once = max(1, (time.thread_time_ns() - start) // 3)
    calls = math.ceil(5e6 / once)
    times = []
    for _ in range(rounds):
        start = time.thread_time_ns()
        for _ in range(calls):
            step(x)
        times.append((time.thread_time_ns() - start) / calls)
    return statistics.median(times)


def measure_all(rows, features, rounds=9):
    """Nanoseconds per peer; one that is not installed is left out."""
    warnings.simplefilter("ignore")
    times = {}
    for name, make_step in PEERS.items():
        try:
            times[name] = measure(make_step, rows, features, rounds)
        except ImportError as error:
            print(f"{name} left out: {error}", file=sys.stderr)
    return times


def main():
    shapes = [tuple(map(int, shape.split("x"))) for shape in sys.argv[1:]]
    for rows, features in shapes or SHAPES:
        for name, ns in measure_all(rows, features).items():
            print(f"{rows}x{features} {name} {ns:.0f}")


if __name__ == "__main__":
    main()
