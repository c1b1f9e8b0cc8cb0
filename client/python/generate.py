"""Writes what the package needs from the rest of the repository.

  generate.py [PACKAGE]    (default: the package beside this file)

PACKAGE/data/descriptors.pb: proto/streamnorm/v1 and all that it imports, as a
FileDescriptorSet. PACKAGE/data/version: of CMakeLists.txt, where it stands.
"""

import os
import pathlib
import re
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
GOOGLEAPIS = "/usr/share/gocode/src/github.com/gogo/googleapis"


def version() -> str:
    text = (ROOT / "CMakeLists.txt").read_text()
    found = re.search(r"project\(streamnorm VERSION ([0-9.]+)", text)
    if found is None:
        raise SystemExit("CMakeLists.txt: no project(streamnorm VERSION ...)")
    return found[1]


def descriptors() -> bytes:
    protos = sorted(str(path.relative_to(ROOT / "proto"))
                    for path in (ROOT / "proto").rglob("*.proto"))
    with tempfile.TemporaryDirectory(prefix="sn-protos-") as folder:
        out = pathlib.Path(folder) / "descriptors.pb"
        subprocess.run(
            ["protoc", f"--proto_path={ROOT / 'proto'}",
             f"--proto_path={GOOGLEAPIS}", "--include_imports",
             f"--descriptor_set_out={out}", "google/rpc/status.proto",
             "google/rpc/error_details.proto", *protos], check=True)
        return out.read_bytes()


def write(path: pathlib.Path, content: bytes) -> None:
    """All of it or nothing: tests may run while this does."""
    if path.exists() and path.read_bytes() == content:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    whole = path.with_name(f"{path.name}.{os.getpid()}")
    whole.write_bytes(content)
    whole.rename(path)


def generate(package: pathlib.Path) -> None:
    write(package / "data" / "descriptors.pb", descriptors())
    write(package / "data" / "version", version().encode())


if __name__ == "__main__":
    generate(pathlib.Path(sys.argv[1]) if sys.argv[1:] else
             HERE / "streamnorm")
