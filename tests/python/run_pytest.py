"""Runs the tests of this folder; exits 77 when a module they need is missing.

Arguments go to pytest: run_pytest.py -k freeze
"""

import importlib
import os
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
    import pytest
    here = os.path.dirname(os.path.abspath(__file__))
    return pytest.main(["-p", "no:cacheprovider", "--rootdir", here, "-q",
                        "--durations=5", here, *sys.argv[1:]])


# (Processes that tests spawn import this file again.)
if __name__ == "__main__":
    sys.exit(main())
