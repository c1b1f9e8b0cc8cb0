"""Prints one table: how long the kernels take for a batch, and the ratio to
memcpy, NumPy, scikit-learn and PyTorch, measured in turns.

  kernels.py BINARY [--rounds N] [--filter REGEX] [--no-peers]

BINARY is kernels_benchmark. Each round runs it and then the peers; the table
has the median of the rounds, of a ratio the median of the rounds' ratios.
"""

import argparse
import json
import statistics
import subprocess

from kernels_peers import PEERS, measure_all


def run_binary(binary, pattern):
    command = [binary, "--benchmark_format=json",
               f"--benchmark_filter={pattern}"]
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE,
                            stderr=subprocess.DEVNULL).stdout
    for run in json.loads(output)["benchmarks"]:
        name = run["name"].split("/iterations")[0]
        yield name, {"ns": run["real_time"], "memcpy": run["memcpy"]}


def add_peers(results):
    """Peers normalize hot FP32 batches with the statistics after them."""
    for name, result in results.items():
        heat, shape, dtype, basis = name.split("/")
        if (heat, dtype, basis) != ("hot", "FP32", "after"):
            continue
        rows, features = map(int, shape.split("x"))
        for peer, ns in measure_all(rows, features).items():
            result[peer] = ns / result["ns"]


def print_table(rounds):
    columns = ["ns", "memcpy", *PEERS]
    print("| scenario | " + " | ".join(
        ["us", "x memcpy", *(f"faster than {peer}" for peer in PEERS)]) + " |")
    print("|---" * (len(columns) + 1) + "|")
    for name in rounds[0]:
        cells = []
        for column in columns:
            values = [r[name][column] for r in rounds if column in r[name]]
            if not values:
                cells.append("")
                continue
            value = statistics.median(values)
            cells.append(f"{value / 1000 if column == 'ns' else value:.3g}")
        print(f"| {name} | " + " | ".join(cells) + " |")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("binary")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--filter", default=".")
    parser.add_argument("--no-peers", action="store_true")
    args = parser.parse_args()
    rounds = []
    for _ in range(args.rounds):
        rounds.append(dict(run_binary(args.binary, args.filter)))
        if not args.no_peers:
            add_peers(rounds[-1])
    print_table(rounds)


if __name__ == "__main__":
    main()
