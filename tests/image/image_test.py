"""The container image: builds it as it is, runs it as docs/container.md says to,
and takes it apart: image_test.py CLI. Exits 77, and says why, where it can't.

It takes the Docker engine that answers, or, as root, starts Debian's for itself,
without a network of its own (containers share the machine's). Where the registry
can't be reached, debian:bookworm-slim is made of the machine's package sources.
"""

import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
BASE = "debian:bookworm-slim"
IMAGE = "streamnorm"
ENGINE_SECONDS = 30
HEALTHY_SECONDS = 60
KEPT_BASE = ROOT / "build" / "image-base.tar"
# What anyone who runs containers carefully takes away.
HARDENED = ["--read-only", "--cap-drop", "ALL", "--security-opt",
            "no-new-privileges"]


def skip(why):
    print(f"SKIPPED: {why}")
    sys.exit(77)


def run(*command, ok=True, **options):
    done = subprocess.run([str(part) for part in command], text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          **options)
    if ok and done.returncode != 0:
        print(done.stdout[-4000:])
        sys.exit(f"FAILED ({done.returncode}): {' '.join(map(str, command))}")
    return done


def docker(*arguments, ok=True):
    return run("docker", *arguments, ok=ok)


def check(what, got, want):
    if got != want:
        sys.exit(f"FAILED: {what}: got {got!r}, want {want!r}")
    print(f"  ok: {what}")


def until(what, seconds, is_so):
    """How long it took."""
    begin = time.monotonic()
    while not is_so():
        if time.monotonic() - begin > seconds:
            sys.exit(f"FAILED: not within {seconds} s: {what}")
        time.sleep(0.01)
    return time.monotonic() - begin


class PrivateEngine:
    """Debian's engine on a socket and in a directory of its own."""

    def __enter__(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="sn-engine-"))
        address = f"unix://{self.folder}/socket"
        with open(self.folder / "log", "w") as log:
            self.process = subprocess.Popen(
                ["dockerd", "--iptables=false", "--ip6tables=false",
                 "--bridge=none", f"--data-root={self.folder}/data",
                 f"--exec-root={self.folder}/exec",
                 f"--pidfile={self.folder}/pid", "-H", address],
                stdout=log, stderr=log)
        os.environ["DOCKER_HOST"] = address
        begin = time.monotonic()
        while docker("info", ok=False).returncode != 0:
            if self.process.poll() is not None or \
                    time.monotonic() - begin > ENGINE_SECONDS:
                text = (self.folder / "log").read_text()
                self.__exit__()
                skip("no Docker engine starts here: " + text[-500:])
            time.sleep(0.1)
        return self

    def __exit__(self, *unused):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(60)
        # What it leaves mounted would be in the way.
        mounts = pathlib.Path("/proc/self/mounts").read_text().splitlines()
        for mount in reversed(mounts):
            place = mount.split()[1]
            if place.startswith(str(self.folder)):
                run("umount", "-l", place, ok=False)
        shutil.rmtree(self.folder, ignore_errors=True)


class NoEngine:
    def __enter__(self):
        return self

    def __exit__(self, *unused):
        pass


def engine():
    if shutil.which("docker") is None:
        skip("no docker here (package docker.io)")
    if docker("info", ok=False).returncode == 0:
        return NoEngine()
    if os.geteuid() != 0 or shutil.which("dockerd") is None:
        skip("no Docker engine answers; root could start one (docker.io)")
    return PrivateEngine()


def get_base():
    if docker("image", "inspect", BASE, ok=False).returncode == 0:
        return
    if docker("pull", BASE, ok=False).returncode == 0:
        return
    if not KEPT_BASE.exists():
        if shutil.which("mmdebstrap") is None or os.geteuid() != 0:
            skip(f"{BASE} can't be pulled; root could make it (mmdebstrap)")
        print(f"making {BASE} of this machine's package sources...")
        new = KEPT_BASE.with_suffix(".new.tar")
        run("mmdebstrap", "--variant=minbase", "--include=usr-is-merged",
            "--hook-dir=/usr/share/mmdebstrap/hooks/merged-usr",
            '--aptopt=Acquire::Check-Valid-Until "false"',
            '--aptopt=Acquire::Check-Date "false"',
            "--dpkgopt=path-exclude=/usr/share/man/*",
            "--dpkgopt=path-exclude=/usr/share/doc/*",
            "--dpkgopt=path-exclude=/usr/share/locale/*", "bookworm", new)
        new.rename(KEPT_BASE)
    docker("import", KEPT_BASE, BASE)


class Container:
    """A server with a volume, on the machine's own network."""

    def __init__(self, cli, *flags, options=()):
        self.cli = cli
        self.port = free_port()
        self.volume = docker("volume", "create").stdout.strip()
        self.id = docker("run", "--detach", "--network=host", *HARDENED,
                         f"--volume={self.volume}:/data", *options, IMAGE,
                         f"--listen=127.0.0.1:{self.port}",
                         "--listen=unix:/data/streamnorm.sock",
                         *flags).stdout.strip()

    def state(self):
        return json.loads(docker("inspect", self.id).stdout)[0]["State"]

    def health(self):
        return self.state().get("Health", {}).get("Status")

    def call(self, *arguments, ok=True):
        return run(self.cli, "--server", f"127.0.0.1:{self.port}", *arguments,
                   ok=ok)

    def answers(self):
        return self.call("--timeout=0.2", "health", ok=False).returncode == 0

    def rows(self):
        stats = json.loads(self.call("get", "n", "-o", "json").stdout)
        return int(stats["row_count"])

    def remove(self):
        docker("rm", "--force", self.id)
        docker("volume", "rm", self.volume)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def version_of_project():
    text = (ROOT / "CMakeLists.txt").read_text()
    return re.search(r"VERSION (\d+\.\d+\.\d+)", text).group(1)


def test_contents():
    size = int(docker("image", "inspect", "-f", "{{.Size}}", IMAGE).stdout)
    print(f"  image: {size / 1e6:.1f} MB")
    version = docker("run", "--rm", "--network=none", *HARDENED, IMAGE,
                     "--version").stdout
    check("it says its version", version.strip(), version_of_project())
    refused = docker("run", "--rm", "--network=host", "--volume=/data",
                     *HARDENED, IMAGE, "--listen=0.0.0.0:0", ok=False)
    check("it refuses to listen beyond loopback",
          refused.returncode != 0 and "--insecure" in refused.stdout, True)
    shell = docker("run", "--rm", "--network=none", "--entrypoint=/bin/sh",
                   IMAGE, "-c", "true", ok=False)
    check("there is no shell in it", shell.returncode, 127)


def test_life(cli, folder):
    rows = ROOT / "deploy" / "rows" / "iris.csv"
    server = Container(cli)
    try:
        begin = time.monotonic()
        until("it answers", HEALTHY_SECONDS, server.answers)
        started = server.state()["StartedAt"]
        print(f"  first answer {time.monotonic() - begin:.2f} s after "
              f"'docker run' came back (started {started})")
        until("it is healthy", HEALTHY_SECONDS,
              lambda: server.health() == "healthy")
        print("  ok: healthy by its own HEALTHCHECK")
        out = folder / "normalized.csv"
        server.call("normalize", "n", "--create", "--batch", "4", rows, "-O",
                    out)
        check("Normalize from the machine", len(out.read_text().split()), 151)
        check("rows", server.rows(), 150)
        memory = docker("stats", "--no-stream", "--format", "{{.MemUsage}}",
                        server.id).stdout.strip()
        print(f"  memory at rest: {memory}")

        docker("kill", "--signal=KILL", server.id)
        docker("start", server.id)
        until("it answers after kill -9", HEALTHY_SECONDS, server.answers)
        check("rows after kill -9", server.rows(), 150)

        docker("stop", "--time=30", server.id)
        check("exit code of docker stop", server.state()["ExitCode"], 0)
        docker("start", server.id)
        until("it answers after a stop", HEALTHY_SECONDS, server.answers)
        check("rows after a stop", server.rows(), 150)
        docker("stop", "--time=30", server.id)
    finally:
        server.remove()


def test_start_time(cli):
    """From nothing to the first answer, the engine's own time included."""
    server = Container(cli)
    try:
        until("it answers", HEALTHY_SECONDS, server.answers)
        times = []
        for _ in range(5):
            docker("stop", "--time=30", server.id)
            begin = time.monotonic()
            docker("start", server.id)
            until("it answers", HEALTHY_SECONDS, server.answers)
            times.append(time.monotonic() - begin)
        print(f"  'docker start' to the first answer: {sorted(times)[2]:.2f} s "
              "(median of 5; goal 0.5)")
    finally:
        server.remove()


def test_foreign_volume():
    """A directory of somebody else's: refused with what to do about it."""
    with tempfile.TemporaryDirectory(prefix="sn-volume-") as folder:
        done = docker("run", "--rm", "--network=host", *HARDENED,
                      f"--volume={folder}:/data", IMAGE, "--listen",
                      "unix:/data/streamnorm.sock", ok=False)
        check("a /data that it may not write is an error, and says its path",
              done.returncode != 0 and "/data" in done.stdout, True)


def test_compose():
    """The server, and two clients that train at the same time."""
    compose = shutil.which("docker-compose")
    command = [compose] if compose else ["docker", "compose"]
    command += ["-f", ROOT / "deploy" / "compose.yaml", "-p",
                f"sntest{os.getpid()}", "--profile", "training"]
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", 50051)) == 0:
            print("  SKIPPED: compose: port 50051 is in use here")
            return
    try:
        run(*command, "up", "--detach", "--no-build")

        def done():
            listed = run(*command, "ps", "-q").stdout.split()
            states = [json.loads(docker("inspect", one).stdout)[0]
                      for one in listed]
            ended = [s for s in states if s["State"]["Status"] == "exited"]
            for s in ended:
                if s["State"]["ExitCode"] != 0:
                    sys.exit("FAILED: a client of compose: " +
                             docker("logs", s["Id"]).stdout[-2000:])
            return len(ended) == 2

        until("both clients are done", HEALTHY_SECONDS, done)
        server = run(*command, "ps", "-q", "streamnorm").stdout.strip()
        text = docker("exec", server, "streamnorm", "--server",
                      "unix:/data/streamnorm.sock", "get", "iris", "-o",
                      "json").stdout
        check("rows of two clients", int(json.loads(text)["row_count"]), 300)
    finally:
        run(*command, "down", "--volumes", ok=False)


def main():
    cli = pathlib.Path(sys.argv[1]).resolve()
    os.environ["DOCKER_BUILDKIT"] = "0"  # Debian's engine has no other builder
    with engine(), tempfile.TemporaryDirectory(prefix="sn-image-") as folder:
        get_base()
        print("building (deploy/Dockerfile)...", flush=True)
        begin = time.monotonic()
        docker("build", "--network=host", "--file",
               ROOT / "deploy" / "Dockerfile", "--tag", IMAGE, ROOT)
        print(f"  built in {time.monotonic() - begin:.0f} s")
        test_contents()
        test_life(cli, pathlib.Path(folder))
        test_start_time(cli)
        test_foreign_volume()
        test_compose()
    print("image: all of it ok")


if __name__ == "__main__":
    main()
