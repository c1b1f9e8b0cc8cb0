"""A private server: connect(":memory:")."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import weakref
from typing import Any

from ._errors import FailedPrecondition, Unavailable

# The shell ends the server when its own standard input ends: when this process
# is gone, however that came.
GUARD = ('"$@" </dev/null 3<&- & server=$!; read -r _ <&3; '
         'kill "$server"; wait "$server"')


def find_binary() -> str:
    """STREAMNORM_SERVER_BINARY, or streamnorm-server on the PATH."""
    named = os.environ.get("STREAMNORM_SERVER_BINARY")
    found = shutil.which(named or "streamnorm-server")
    if found is None:
        raise FailedPrecondition(
            f"streamnorm-server: {named or 'not on the PATH'}, want the "
            "server's binary", hint="STREAMNORM_SERVER_BINARY says where it is")
    return found


class PrivateServer:
    """Keeps everything in memory; ends with `stop`, with this object or with
    this process."""

    def __init__(self) -> None:
        folder = tempfile.mkdtemp(prefix="streamnorm-")
        self.address = f"unix:{folder}/socket"
        command = [find_binary(), "--store=memory", "--listen", self.address,
                   "--lane", f"{folder}/lane", "--commit_interval_ms=1",
                   "--log_level=error"]
        process = subprocess.Popen(
            ["/bin/sh", "-c", f"exec 3<&0; {GUARD}", "sh", *command],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.stop = weakref.finalize(self, _stop, process, folder, os.getpid())
        assert process.stdout is not None
        line = process.stdout.readline().decode()
        if not line.startswith("listening on "):
            self.stop()
            raise Unavailable(f"{command[0]}: did not start ({line.strip()!r})")


def _stop(process: Any, folder: str, owner: int) -> None:
    if os.getpid() != owner:
        return  # a child of a fork: the server is its parent's
    process.stdin.close()
    process.stdout.close()
    process.wait()
    shutil.rmtree(folder, ignore_errors=True)
