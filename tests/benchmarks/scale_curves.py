"""Draws how cost grows: a PNG per curve into a directory.

  scale_curves.py BUILD DIRECTORY [--rounds N] [--seconds S] [--points FILE]

Runs the scale suite of BUILD's streamnorm-benchmark, or takes the points that
an earlier run printed. All axes are logarithmic.
"""

import argparse
import collections
import json
import os
import subprocess

import matplotlib

matplotlib.use("Agg")  # to files, without a screen
import matplotlib.pyplot as plt  # noqa: E402  after the line above
from matplotlib.ticker import (FuncFormatter, LogLocator,  # noqa: E402
                               NullLocator)

# curve: (title, x axis, y axis)
CURVES = {
    "rows": ("A batch of more rows (32 FP32 features)",
             "rows in a batch", "time per message (µs)"),
    "features": ("A batch of more features (4 FP32 rows)",
                 "features", "time per message (µs)"),
    "normalizers": ("More normalizers (4 x 32, one message in flight)",
                    "normalizers in the server",
                    "time until the answer, p50 (µs)"),
    "clients": ("More clients (4 x 32, a stream each, one message in flight)",
                "clients", "messages per second, all together"),
    "sessions": ("More sessions (4 x 32, one message in flight)",
                 "open sessions", "time until the answer, p50 (µs)"),
    "memory": ("Memory of the server, with one client",
               "normalizers of 32 features; sessions",
               "resident memory (MiB)"),
    "start": ("A start with so many normalizers, until a request is answered",
              "size of the database (MiB)", "time (s)"),
}

# Line and marker: what is compared has one colour, CPU is dashed.
STYLES = [("C0", "o", "-"), ("C1", "s", "-"), ("C0", "o", "--"),
          ("C1", "s", "--")]


def read_points(lines):
    """curve -> series -> [(x, y)]"""
    curves = collections.defaultdict(lambda: collections.defaultdict(list))
    for line in lines:
        if not line.startswith("{"):
            continue
        point = json.loads(line)
        curves[point["curve"]][point["series"]].append((point["x"],
                                                        point["y"]))
    return curves


def short(value, _=None):
    """2048 -> 2,048; 10000 -> 10k"""
    for limit, suffix in ((1e6, "M"), (1e3, "k")):
        if value >= limit and value % limit == 0:
            return f"{value / limit:g}{suffix}"
    return f"{value:,.0f}" if value >= 1000 else f"{value:g}"


def apart(values):
    """Without those that a tick's label of the next one would cover."""
    values = sorted(set(values))
    return [a for a, b in zip(values, values[1:] + [float("inf")])
            if b > 1.5 * a]


def scale(axes, ticks):
    axes.set_xscale("log")
    axes.set_yscale("log")
    low, high = axes.get_ylim()
    if high / low < 30:  # else a nearly flat line would look steep
        middle = (low * high) ** 0.5
        axes.set_ylim(middle / 30 ** 0.5, middle * 30 ** 0.5)
    if ticks:
        axes.set_xticks(apart(ticks))
        axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_minor_locator(NullLocator())
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(FuncFormatter(short))


def draw_start(axes, series):
    """One line through all points; each is named after its normalizers."""
    points = sorted((*point, int(name)) for name, some in series.items()
                    for point in some)
    axes.plot([p[0] for p in points], [p[1] for p in points], marker="o")
    axes.margins(y=0.15)
    scale(axes, None)
    for size, seconds, normalizers in points:
        axes.annotate(short(normalizers), (size, seconds), xytext=(0, 8),
                      ha="center", textcoords="offset points")


def draw_series(axes, series):
    for (colour, marker, line), (name, points) in zip(STYLES, series.items()):
        points.sort()
        axes.plot([p[0] for p in points], [p[1] for p in points],
                  color=colour, marker=marker, linestyle=line, label=name)
    scale(axes, [p[0] for points in series.values() for p in points])
    if len(series) > 1:
        axes.legend(fontsize=9, loc="upper left")


def draw(curve, series, directory):
    title, x_label, y_label = CURVES[curve]
    figure, axes = plt.subplots(figsize=(6.4, 4), dpi=120)
    (draw_start if curve == "start" else draw_series)(axes, series)
    axes.set_title(title, fontsize=11)
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    axes.grid(True, which="both", alpha=0.25)
    figure.tight_layout()
    # Without what differs from run to run though the picture is the same.
    figure.savefig(os.path.join(directory, f"scale_{curve}.png"),
                   metadata={"Software": None})
    plt.close(figure)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("build")
    parser.add_argument("directory")
    parser.add_argument("--rounds", default="3")
    parser.add_argument("--seconds", default="0.3")
    parser.add_argument("--points")
    args = parser.parse_args()
    if args.points:
        with open(args.points, encoding="utf-8") as file:
            lines = file.read().splitlines()
    else:
        program = os.path.join(args.build, "tests", "benchmarks",
                               "streamnorm-benchmark")
        lines = subprocess.run(
            [program, "scale", "--rounds", args.rounds, "--seconds",
             args.seconds], check=True, stdout=subprocess.PIPE,
            text=True).stdout.splitlines()
    os.makedirs(args.directory, exist_ok=True)
    for curve, series in read_points(lines).items():
        draw(curve, series, args.directory)
        for name, points in series.items():
            print(curve, name, *(f"{x:g}:{y:.4g}" for x, y in points))


if __name__ == "__main__":
    main()
