"""Builds the wheel; pyproject.toml says what it is.

Descriptors and the version come from the rest of the repository (generate.py);
nothing is downloaded.
"""

import pathlib
import sys

import setuptools
from setuptools.command.build_py import build_py

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import generate  # noqa: E402


class BuildPy(build_py):
    """Generates first."""

    def run(self):
        generate.generate(HERE / "streamnorm")
        super().run()


setuptools.setup(version=generate.version(), cmdclass={"build_py": BuildPy})
