"""Searches the models for a way to break a promise, and for each planted bug.

For every model: all states within its bounds hold every assertion, and no
process is stuck; with -DMUT=n, for each n that the model's head lists, the
search finds an error. STREAMNORM_LONG=1 searches larger bounds besides.
"""

import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
LONG = os.environ.get("STREAMNORM_LONG") == "1"
SKIPPED = 77
# Searches that must end without an error.
SHORT_BOUNDS = [
    ("exactly_once.pml", ["-DK=2", "-DWINDOW=1"]),
    ("exactly_once.pml", ["-DK=2", "-DWINDOW=1", "-DZOMBIE=1", "-DRESETS=0"]),
    ("session_end.pml", []),
    ("barrier_token.pml", []),
]
LONG_BOUNDS = [
    ("exactly_once.pml", ["-DK=2", "-DWINDOW=1", "-DCRASHES=2"]),
    ("exactly_once.pml", ["-DK=2", "-DWINDOW=1", "-DZOMBIE=1"]),
    ("session_end.pml", ["-DK=3", "-DCRASHES=3"]),
    ("barrier_token.pml", ["-DK=3", "-DCRASHES=2", "-DEPOCHS=3"]),
]
# A planted bug that shows only within other bounds than the first ones.
BOUNDS_OF_BUG = {("exactly_once.pml", 8): SHORT_BOUNDS[1][1]}


def search(model, flags):
    """(errors, states) of a full search."""
    with tempfile.TemporaryDirectory(prefix="sn-model-") as folder:
        def run(*command):
            done = subprocess.run(command, cwd=folder, text=True,
                                  capture_output=True)
            if done.returncode != 0:
                sys.exit(f"FAILED: {model} {flags}: {' '.join(command)}:\n"
                         f"{done.stdout}{done.stderr}")
            return done.stdout

        run("spin", "-a", *flags, str(HERE / model))
        run("gcc", "-O1", "-w", "-DSAFETY", "-DCOLLAPSE", "-o", "pan", "pan.c")
        report = run("./pan", "-m1000000", "-w23")
        errors = int(re.search(r"errors: (\d+)", report)[1])
        if "max search depth too small" in report or (
                errors == 0 and "not completed" in report):
            sys.exit(f"FAILED: {model} {flags}: not a full search:\n{report}")
        states = int(re.search(r"(\d+) states, stored", report)[1])
        return errors, states


def planted_bugs(model):
    """The numbers in the list at the model's head."""
    head = (HERE / model).read_text().split("*/")[0]
    return [int(n) for n in re.findall(r"^ +(\d+)  \S", head, re.MULTILINE)]


def main():
    missing = [tool for tool in ("spin", "gcc") if not shutil.which(tool)]
    if missing:
        print("SKIPPED, these programs are missing:", ", ".join(missing))
        return SKIPPED
    failed = 0
    for model, flags in SHORT_BOUNDS + (LONG_BOUNDS if LONG else []):
        errors, states = search(model, flags)
        print(f"{model} {' '.join(flags)}: {states:,} states, {errors} errors",
              flush=True)
        failed += errors != 0
    first = dict(reversed(SHORT_BOUNDS))
    for model in sorted(first):
        bugs = planted_bugs(model)
        if bugs != list(range(1, len(bugs) + 1)) or not bugs:
            sys.exit(f"FAILED: {model}: its head lists the bugs {bugs}")
        for bug in bugs:
            flags = BOUNDS_OF_BUG.get((model, bug), first[model])
            errors, states = search(model, [*flags, f"-DMUT={bug}"])
            found = "found" if errors else "NOT FOUND"
            print(f"{model} planted bug {bug}: {found} in {states:,} states",
                  flush=True)
            failed += errors == 0
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
