"""README's examples do what it says."""

import os
import pathlib
import re
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
ADDRESS = '"127.0.0.1:50051"'


def block(language):
    readme = (ROOT / "README.md").read_text()
    return re.search(rf"```{language}\n(.*?)```", readme, re.DOTALL)[1]


def test_the_python_example_runs(start):
    server = start()
    code = block("python").replace(ADDRESS, repr(server.address))
    done = subprocess.run([sys.executable, "-c", code], text=True,
                          capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr
    mean, deviation, rows = map(float, done.stdout.split())
    assert abs(mean) < 1e-6 and abs(deviation - 1) < 1e-5 and rows == 4


def test_the_cpp_example_is_the_program_that_is_built():
    program = (ROOT / "tests/client/readme_example.cc").read_text()
    for line in block("cpp").splitlines():
        assert line.replace(ADDRESS, "address") in program, line


@pytest.mark.skipif("STREAMNORM_README_EXAMPLE" not in os.environ,
                    reason="run by ctest, which says where it was built")
def test_the_cpp_example_runs(start):
    server = start()
    done = subprocess.run(
        [os.environ["STREAMNORM_README_EXAMPLE"], server.address], text=True,
        capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "row 0 begins with 0, of 4 rows\n"
