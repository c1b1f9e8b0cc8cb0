"""Runs the tests of this folder; exits 77 when a module they need is missing.

Arguments go to pytest: run_pytest.py -k freeze
"""

import importlib
import os
import subprocess
import sys

NEEDED = {
    "pytest": "python3-pytest",
    "grpc": "python3-grpcio",
    "google.protobuf": "python3-protobuf",
    "numpy": "python3-numpy",
    "pandas": "python3-pandas",
    "sklearn": "python3-sklearn",
    "torch": "python3-torch",
}


# Each in a process of its own: a fork after all the others, with what they leave
# of gRPC's threads, can hang.
FORKING = ["test_fork.py", "test_torch.py"]


def missing_packages():
    for module, package in NEEDED.items():
        try:
            importlib.import_module(module)
        except ImportError as error:
            yield f"{package} ({error})"


def main():
    missing = list(missing_packages())
    if missing:
        print("SKIPPED, these packages are missing:", ", ".join(missing))
        return 77
    here = os.path.dirname(os.path.abspath(__file__))
    common = [sys.executable, "-B", "-m", "pytest", "-p", "no:cacheprovider",
              "--rootdir", here, "-q", "--durations=5", *sys.argv[1:]]
    forking = [os.path.join(here, name) for name in FORKING]
    runs = [[here, *(f"--ignore={path}" for path in forking)],
            *([path] for path in forking)]
    statuses = [subprocess.run([*common, *run]).returncode for run in runs]
    # 5: there was nothing to run, as -k chose others.
    return max((s for s in statuses if s != 5), default=0)


# (Processes that tests spawn import this file again.)
if __name__ == "__main__":
    sys.exit(main())
