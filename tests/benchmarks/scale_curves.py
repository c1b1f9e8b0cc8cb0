"""Draws how cost grows: a PNG per curve into a directory.

  scale_curves.py BUILD DIRECTORY [--rounds N] [--seconds S] [--points FILE]

Runs the scale suite of BUILD's streamnorm-benchmark, or takes the points that
an earlier run printed. Every axis is logarithmic but that of a start.
"""

import argparse
import collections
import json
import os
import subprocess

import matplotlib

matplotlib.use("Agg")  # to files, without a screen
import matplotlib.pyplot as plt  # noqa: E402  after the line above
from matplotlib.ticker import FuncFormatter, NullLocator  # noqa: E402

# curve: (title, x axis, y axis)
CURVES = {
    "rows": ("A batch of more rows (32 FP32 features)",
             "rows in a batch", "time until the answer, p50 (µs)"),
    "features": ("A batch of more features (4 FP32 rows)",
                 "features", "time until the answer, p50 (µs)"),
    "normalizers": ("More normalizers (4 x 32, one message in flight)",
                    "normalizers in the server",
                    "time until the answer, p50 (µs)"),
    "clients": ("More clients (4 x 32, a stream each, one message in flight)",
                "clients", "messages per second, all together"),
    "sessions": ("More sessions (4 x 32, one message in flight)",
                 "open sessions", "time until the answer, p50 (µs)"),
    "memory": ("Memory of the server",
               "how many there are", "resident memory (MiB)"),
    "start": ("A start, until one is answered (32 features each)",
              "size of the database (MiB)", "time (s)"),
}
MARKERS = ["o", "s", "^"]


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
    """1200 -> 1.2k"""
    for limit, suffix in ((1e6, "M"), (1e3, "k")):
        if value >= limit:
            return f"{value / limit:g}{suffix}"
    return f"{value:g}"


def draw_start(axes, series):
    """One line through all points; each is named after its normalizers."""
    points = sorted((*point, int(name)) for name, some in series.items()
                    for point in some)
    axes.plot([p[0] for p in points], [p[1] for p in points], marker="o")
    for size, seconds, normalizers in points:
        if normalizers >= 1000:  # those below lie on top of one another
            axes.annotate(f"{short(normalizers)} normalizers",
                          (size, seconds), xytext=(-8, 8), ha="right",
                          textcoords="offset points")
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0, top=1.15 * max(p[1] for p in points))


def draw_series(axes, series):
    for marker, (name, points) in zip(MARKERS, series.items()):
        points.sort()
        axes.plot([p[0] for p in points], [p[1] for p in points],
                  marker=marker, label=name)
    ticks = sorted({p[0] for points in series.values() for p in points})
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xticks(ticks)
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(short))
    axes.yaxis.set_major_formatter(FuncFormatter(short))
    low, high = axes.get_ylim()
    if high / low < 30:  # else a nearly flat line would look steep
        middle = (low * high) ** 0.5
        axes.set_ylim(middle / 30 ** 0.5, middle * 30 ** 0.5)
    if len(series) > 1:
        axes.legend()


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
