"""Installs into a folder of its own, and builds and runs a project that knows
nothing but that: consumer_test.py BUILD_DIR SERVER"""

import os
import pathlib
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "python"))

from server_process import ServerProcess  # noqa: E402


def run(*command, **options):
    done = subprocess.run([str(part) for part in command], text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          **options)
    if done.returncode != 0:
        print(done.stdout[-4000:])
        sys.exit(f"FAILED ({done.returncode}): {' '.join(map(str, command))}")
    return done.stdout


def main():
    build, server = (pathlib.Path(a).resolve() for a in sys.argv[1:3])
    os.environ["STREAMNORM_SERVER_BINARY"] = str(server)
    with tempfile.TemporaryDirectory(prefix="sn-consumer-") as folder:
        folder = pathlib.Path(folder)
        prefix = folder / "installed"
        run("cmake", "--install", build, "--prefix", prefix, "--strip")
        run("cmake", "-S", HERE, "-B", folder / "build", "-G", "Ninja",
            f"-DCMAKE_PREFIX_PATH={prefix}",
            env={**os.environ, "PKG_CONFIG_PATH": prefix / "lib/pkgconfig"})
        run("cmake", "--build", folder / "build")
        with ServerProcess(folder) as started:
            rows = run(folder / "build" / "consumer", started.address)
            z = run(folder / "build" / "c_consumer", started.address)
        # Rows 1 and 5, then 3: the mean itself.
        if (rows.strip(), z.strip()) != ("2", "0"):
            sys.exit(f"FAILED: got {rows!r} and {z!r}, want 2 and 0")
        for program in ("streamnorm", "streamnorm-server"):
            print(run(prefix / "bin" / program, "--version").strip())


if __name__ == "__main__":
    main()
