"""client/python as it is installed."""

import os
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "client" / "python"


def test_the_wheel_is_built_offline_and_works_by_itself(folder):
    subprocess.run([ROOT / "run", "wheel", folder], check=True,
                   capture_output=True,
                   env={**os.environ, "STREAMNORM_INSTALL": "no"})
    wheel, = folder.glob("streamnorm-*.whl")
    code = ("import streamnorm; print(streamnorm.__file__);"
            "c = streamnorm.connect(':memory:');"
            "n = c.normalizer('n', 1);"
            "print(streamnorm.__version__, n([[1.0], [3.0]]).tolist())")
    subprocess.run([sys.executable, "-m", "zipfile", "-e", wheel,
                    folder / "installed"], check=True)
    done = subprocess.run(
        [sys.executable, "-c", code], text=True, capture_output=True,
        timeout=60, env={**os.environ,
                         "PYTHONPATH": str(folder / "installed")})
    where, answer = done.stdout.splitlines()
    assert where.startswith(str(folder)), done.stderr
    version = (PACKAGE / "streamnorm/data/version").read_text()
    assert answer == f"{version} [[-1.0], [1.0]]"


def test_type_hints_hold():
    mypy = pathlib.Path("/usr/bin/mypy")
    if not mypy.exists():
        pytest.skip("mypy is not installed")
    done = subprocess.run(
        [mypy, "--cache-dir", os.devnull, "streamnorm"], cwd=PACKAGE,
        text=True, capture_output=True,
        env={k: v for k, v in os.environ.items() if k != "PYTHONPATH"})
    assert done.returncode == 0, done.stdout
