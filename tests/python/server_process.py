"""A real server process."""

import os
import selectors
import signal
import subprocess
import time

# Sanitizers make a start slow, a busy machine slower.
START_SECONDS = 60
STOP_SECONDS = 60

SLOW_COMMITS = "--commit_interval_ms=60000"  # nothing is durable by itself


class ServerProcess:
    """The server on one folder: its socket, its data and its log."""

    def __init__(self, folder, *flags, listen=None, data="data"):
        self.folder = folder
        self.flags = flags
        self.listen = listen or [f"unix:{folder}/socket"]
        self.data = data
        self.addresses = []
        self.process = None

    @property
    def address(self):
        return self.addresses[0]

    def command(self):
        listen = [arg for to in self.listen for arg in ("--listen", to)]
        return [os.environ["STREAMNORM_SERVER_BINARY"], *listen,
                "--data_dir", str(self.folder / self.data), *self.flags]

    def launch(self):
        with open(self.folder / "log", "ab") as log:
            self.process = subprocess.Popen(
                self.command(), stdout=subprocess.PIPE, stderr=log)

    def __enter__(self):
        self.launch()
        try:
            self.addresses = self.read_addresses()
        except BaseException:
            self.process.kill()
            self.process.wait()
            raise
        return self

    def __exit__(self, *unused):
        if self.process.poll() is None:
            self.stop()

    def read_addresses(self):
        """What `listening on ADDRESS` says, a line for each --listen, and the
        last one for --http_listen."""
        text = b""
        deadline = time.monotonic() + START_SECONDS
        output = self.process.stdout.fileno()
        wanted = len(self.listen) + any(
            flag.startswith("--http_listen=") and not flag.endswith("=none")
            for flag in self.flags)
        with selectors.DefaultSelector() as selector:
            selector.register(output, selectors.EVENT_READ)
            while text.count(b"\n") < wanted:
                left = deadline - time.monotonic()
                assert left > 0, f"not listening: {text!r}\n{self.log()}"
                if selector.select(left):
                    part = os.read(output, 4096)
                    assert part, f"ended: {text!r}\n{self.log()}"
                    text += part
        lines = text.decode().splitlines()
        assert all(line.startswith("listening on ") for line in lines), lines
        return [line[len("listening on "):] for line in lines]

    def log(self):
        return (self.folder / "log").read_text(errors="replace")[-4000:]

    def resident_bytes(self):
        with open(f"/proc/{self.process.pid}/status") as status:
            line = next(x for x in status if x.startswith("VmRSS:"))
        return int(line.split()[1]) << 10

    def stop(self):
        """A clean end. A leak or a race found by a sanitizer is none."""
        self.process.send_signal(signal.SIGTERM)
        status = self.process.wait(STOP_SECONDS)
        self.process.stdout.close()
        assert status == 0, f"exit status {status}\n{self.log()}"

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()
