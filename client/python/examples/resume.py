"""A training job that is killed, and a server that is killed, and every row
counted once.

The job trains on rows that it counts, and every 10 steps takes a checkpoint:
its model, and the token of client.barrier(). This program starts it, kills it
with SIGKILL in the middle, and starts it again from its own checkpoint: it
connects with resume=token and repeats the steps since, and the server knows
those that it counted before. Then it kills the server, and starts it again:
the job goes on and hears nothing of it.

    python3 resume.py [--server localhost:50051]

With --server it leaves the server alone; else it runs one of its own, on a
temporary folder (STREAMNORM_SERVER_BINARY, or streamnorm-server on the PATH).
"""

import argparse
import os
import pathlib
import subprocess
import sys
import tempfile
import time

import numpy as np
import streamnorm
import torch
from torch import nn

NAME, FEATURES, BATCH = "resume.rows", 8, 4
STEPS, CHECKPOINT_STEPS = 100, 10
KILL_JOB_AT, KILL_SERVER_AT = 37, 71


def batch(step):
    """The rows of a step, the same whenever it is repeated."""
    x = np.random.default_rng(step).normal(50, 9, (BATCH, FEATURES))
    y = x[:, :2].sum(1) > 100
    return torch.as_tensor(x, dtype=torch.float32), torch.as_tensor(y).float()


# The job.

def load(path, net, optimizer):
    """The first step to do, and the token to go on from."""
    if not path.exists():
        return 0, None
    saved = torch.load(path)
    net.load_state_dict(saved["net"])
    optimizer.load_state_dict(saved["optimizer"])
    return saved["step"], saved["token"]


def save(path, **what):
    """Whole or not at all."""
    torch.save(what, path.with_suffix(".new"))
    os.replace(path.with_suffix(".new"), path)


def run_job(address, checkpoint):
    torch.manual_seed(0)
    torch.set_num_threads(1)
    net = nn.Linear(FEATURES, 1)
    optimizer = torch.optim.Adam(net.parameters(), lr=0.05)
    step, token = load(checkpoint, net, optimizer)
    client = streamnorm.connect(address, resume=token)
    n = client.normalizer(NAME, features=FEATURES)
    print(f"begins at step {step}", flush=True)
    while step < STEPS:
        x, y = batch(step)
        z, answer = n.normalize(x)
        optimizer.zero_grad()
        nn.functional.binary_cross_entropy_with_logits(
            net(z)[:, 0], y).backward()
        optimizer.step()
        time.sleep(0.01)  # a larger net
        counted = "again" if answer.duplicate else "counted"
        print(f"step {step} {counted}", flush=True)
        step += 1
        if step % CHECKPOINT_STEPS == 0:
            save(checkpoint, step=step, token=client.barrier(),
                 net=net.state_dict(), optimizer=optimizer.state_dict())
    client.close()


# What happens to it.

class Server:
    """Of our own, on a folder."""

    def __init__(self, folder):
        self.address = f"unix:{folder}/socket"
        self._command = [
            os.environ.get("STREAMNORM_SERVER_BINARY", "streamnorm-server"),
            "--listen", self.address, "--data_dir", f"{folder}/data",
            "--log_level=error"]
        self.start()

    def start(self):
        self._process = subprocess.Popen(self._command,
                                         stdout=subprocess.PIPE)
        self._process.stdout.readline()  # listening on ...

    def kill(self):
        self._process.kill()
        self._process.wait()
        self._process.stdout.close()


class Job:
    """This program's other half, in a process of its own."""

    def __init__(self, address, checkpoint):
        self.steps, self.again = [], 0
        self._process = subprocess.Popen(
            [sys.executable, __file__, "--server", address, "--job",
             checkpoint], stdout=subprocess.PIPE, text=True)

    def run_until(self, step):
        """Follows it until it did this step."""
        for line in self._process.stdout:
            word, number, *rest = line.split()
            if word != "step":
                print(f"the job {line}", end="")
                continue
            self.steps.append(int(number))
            self.again += rest == ["again"]
            if self.steps[-1] == step:
                return

    def kill(self):
        self._process.kill()
        for line in self._process.stdout:  # it was a little further
            self.steps += [int(line.split()[1])] if line[-1:] == "\n" else []
        self._process.wait()

    def wait(self):
        self.run_until(STEPS)
        return self._process.wait()


def run_story(address, server, folder):
    checkpoint = folder / "checkpoint"
    first = Job(address, checkpoint)
    first.run_until(KILL_JOB_AT)
    first.kill()
    print(f"SIGKILL to the job, after step {first.steps[-1]}")
    second = Job(address, checkpoint)
    second.run_until(KILL_SERVER_AT)
    if server is not None:
        server.kill()
        server.start()
        print(f"SIGKILL to the server, after step {second.steps[-1]}")
    status = second.wait()
    with streamnorm.connect(address) as client:
        n = client.normalizer(NAME)
        found = n.statistics()
        n.delete()
    return check(first, second, status, found)


def check(first, second, status, found):
    # The first may have been killed between sending a step and saying so.
    begin = second.steps[0]
    repeated = [step for step in first.steps if step >= begin]
    unsaid = second.again - len(repeated)
    sent = BATCH * (len(first.steps) + unsaid + len(second.steps))
    rows = np.concatenate([batch(step)[0] for step in range(STEPS)]
                          ).astype(np.float64)
    error = np.abs(found.mean / rows.mean(0) - 1).max()
    print(f"rows sent              {sent}, {BATCH * second.again} of them were "
          "counted before and sent again")
    print(f"rows of the job        {len(rows)}")
    print(f"rows the server counts {found.row_count}; its mean differs from "
          f"NumPy's by {error:.0e}")
    return (status == 0 and found.row_count == len(rows) and error < 1e-12 and
            unsaid in (0, 1))


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--server", default=":memory:",
                        help="address; default: one of its own")
    parser.add_argument("--job", type=pathlib.Path, metavar="CHECKPOINT",
                        help="be the job, on this checkpoint")
    options = parser.parse_args()
    if options.job is not None:
        return run_job(options.server, options.job)
    with tempfile.TemporaryDirectory(prefix="sn-resume-") as name:
        server, address = None, options.server
        if address == ":memory:":
            server = Server(name)
            address = server.address
        try:
            good = run_story(address, server, pathlib.Path(name))
        finally:
            if server is not None:
                server.kill()
    print("each row counts once" if good else "NOT counted once")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
