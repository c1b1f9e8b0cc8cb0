"""`streamnorm fit` of a large CSV file against the bare parse of it.

    fit.py BUILD_DIR [--mb 1000] [--columns 48] [--rounds 3] [--dir DIR]

Both are the same program and the same parser: `fit --dry-run` reads all rows
and sends nothing. They take turns. Then fit is killed with SIGKILL in the
middle, three times, and goes on; what was counted is compared with one pass
over the same rows by NumPy.
"""

import argparse
import csv
import io
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time

import numpy as np

BLOCK_ROWS = 10_000
GOAL_RATIO = 0.6
GOAL_ERROR = 1e-12
GOAL_RSS_MB = 256
KILLS = 3


def write_file(path, megabytes, columns):
    """Rows whose first cell is their number: one that is missing and another
    that is there twice don't make up for one another. Returns the rows, and
    the block that repeats."""
    block = np.random.default_rng(0).normal(50, 9, (BLOCK_ROWS, columns - 1))
    block = np.round(block, 6)
    tails = [",".join(f"{x:.6f}" for x in row) for row in block]
    rows = 0
    with open(path, "w") as file:
        file.write(",".join(f"c{i}" for i in range(columns)) + "\n")
        while file.tell() < megabytes * 1_000_000:
            file.write("".join(f"{rows + i},{tail}\n"
                               for i, tail in enumerate(tails)))
            rows += BLOCK_ROWS
    return rows, block


def numpy_moments(rows, block):
    """Mean and population variance of what write_file wrote."""
    number = np.arange(rows, dtype=np.longdouble)
    wide = block.astype(np.longdouble)
    mean = np.concatenate([[number.mean()], wide.mean(0)])
    variance = np.concatenate([[number.var()], wide.var(0)])
    return mean, variance


def run(command, kill_at=None):
    """Seconds, peak MB and exit code of a command."""
    began = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    if kill_at is not None:
        time.sleep(kill_at)
        process.send_signal(signal.SIGKILL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.monotonic() - began
    return seconds, usage.ru_maxrss / 1024, process.returncode


class Server:
    def __init__(self, build, folder):
        self.address = f"unix:{folder}/socket"
        self.process = subprocess.Popen(
            [build / "server/streamnorm-server", "--listen", self.address,
             "--data_dir", folder / "data", "--log_level=error"],
            stdout=subprocess.DEVNULL)

    def close(self):
        self.process.terminate()
        self.process.wait()


def check(what, holds):
    print(f"{'ok  ' if holds else 'MISS'}  {what}")
    return holds


def counted_error(cli, rows, block):
    """Rows that the server has, and the largest relative error."""
    text = subprocess.run([*cli, "stats", "killed", "-o", "csv"], check=True,
                          capture_output=True, text=True).stdout
    table = list(csv.DictReader(io.StringIO(text)))
    mean, variance = numpy_moments(rows, block)
    got_mean = np.array([row["mean"] for row in table], dtype=np.longdouble)
    got_variance = np.array([row["variance"] for row in table],
                            dtype=np.longdouble)
    error = max(np.max(np.abs(got_mean / mean - 1)),
                np.max(np.abs(got_variance / variance - 1)))
    return {int(row["count"]) for row in table}, float(error)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("build", type=pathlib.Path)
    parser.add_argument("--mb", type=int, default=1000)
    parser.add_argument("--columns", type=int, default=48)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--dir", help="for the file and the server's data")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=args.dir) as name:
        folder = pathlib.Path(name)
        path = folder / "rows.csv"
        rows, block = write_file(path, args.mb, args.columns)
        size = path.stat().st_size / 1e6
        print(f"{size:.0f} MB of CSV, {rows} rows of {args.columns}")
        server = Server(args.build, folder)
        try:
            return measure(args, path, size, rows, block, server.address)
        finally:
            server.close()


def measure(args, path, size, rows, block, address):
    cli = [args.build / "client/streamnorm", "-s", address, "--timeout", "30"]
    fit = [*cli, "fit", "--create"]
    parse_s, fit_s, peak = [], [], 0
    for round_ in range(args.rounds):
        seconds, _, code = run([*cli, "fit", "x", path, "--dry-run"])
        assert code == 0, code
        parse_s.append(seconds)
        seconds, megabytes, code = run([*fit, f"round{round_}", path])
        assert code == 0, code
        fit_s.append(seconds)
        peak = max(peak, megabytes)
    parse, whole = np.median(parse_s), np.median(fit_s)
    ratio = float(np.median(np.array(parse_s) / np.array(fit_s)))
    print(f"parse {size / parse:.0f} MB/s ({parse:.2f} s), "
          f"fit {size / whole:.0f} MB/s ({whole:.2f} s)")

    killed = [*fit, "killed", path,
              "--checkpoint-interval", f"{whole / 20:.3f}"]
    kills = 0
    for _ in range(KILLS):
        _, _, code = run(killed, kill_at=whole / (KILLS + 1))
        kills += code == -signal.SIGKILL
    _, _, code = run(killed)
    assert code == 0, code
    counts, error = counted_error(cli, rows, block)
    return all([
        check(f"fit/parse {ratio:.2f}, want >= {GOAL_RATIO}",
              ratio >= GOAL_RATIO),
        check(f"peak memory of the client {peak:.0f} MB, want <= "
              f"{GOAL_RSS_MB}", peak <= GOAL_RSS_MB),
        check(f"{kills} kills, {sorted(counts)} rows counted, want {rows}",
              kills > 0 and counts == {rows}),
        check(f"largest relative error of mean and variance {error:.1e}, want "
              f"<= {GOAL_ERROR}", error <= GOAL_ERROR),
    ])


if __name__ == "__main__":
    sys.exit(0 if main() else 1)
