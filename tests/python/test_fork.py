"""Forks and DataLoader workers: each process counts its rows once."""

import multiprocessing
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from python_client import assert_exactly, draw, moments
from torch.utils.data import DataLoader, Dataset

ROWS = 24


class Normalized(Dataset):
    """Rows that the worker counts."""

    def __init__(self, normalizer):
        self.normalizer = normalizer

    def __len__(self):
        return ROWS

    def __getitem__(self, i):
        return self.normalizer(torch.tensor(draw(1, i)))[0]


class Plain(Normalized):
    def __getitem__(self, i):
        return torch.tensor(draw(1, i))[0]


def all_rows(times):
    return np.concatenate([draw(1, i, "<f4") for i in range(ROWS)] * times)


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_loader_workers_count_their_rows_once(normalizer, method):
    normalizer.partial_fit(draw(5))  # the parent's session is in use
    loader = DataLoader(Normalized(normalizer), batch_size=4, num_workers=2,
                        multiprocessing_context=method)
    for _ in range(2):
        assert sum(len(batch) for batch in loader) == ROWS
        normalizer.partial_fit(draw(5))
    assert_exactly(normalizer,
                   np.concatenate([all_rows(2), *[draw(5)] * 3]))


def test_batches_of_forked_workers_are_prefetched(normalizer):
    loader = DataLoader(Plain(normalizer), batch_size=4, num_workers=2,
                        multiprocessing_context="fork")
    for _ in range(2):
        batches = list(normalizer.normalize_iter(loader, ahead=4))
        assert [batch.shape for batch in batches] == [(4, 3)] * (ROWS // 4)
    assert_exactly(normalizer, all_rows(2))


def in_child(work):
    """Runs `work` in a forked child."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            work()
            status = 0
        finally:
            os._exit(status)
    assert os.waitpid(pid, 0)[1] == 0


def test_parent_and_child_go_on_after_a_fork(normalizer):
    client = normalizer._client
    x = draw(4, 1)
    normalizer(x)
    exchange = client.exchange_of([normalizer])
    exchange.count[0], exchange.mean[0][:], exchange.m2[0][:] = moments(x)

    def child():
        normalizer(x)
        exchange.run()
        in_child(lambda: normalizer.partial_fit(x))
        client.close()

    for _ in range(3):
        in_child(child)
        normalizer(x)
    exchange.run()
    assert_exactly(normalizer, np.concatenate([x] * 14))


def test_a_fork_among_prefetched_batches_counts_nothing_twice(normalizer):
    batches = [draw(2, i) for i in range(40)]
    for i, _ in enumerate(normalizer.normalize_iter(batches, ahead=8)):
        if i in (5, 25):
            in_child(lambda: normalizer.partial_fit(draw(3, 99)))
    assert_exactly(normalizer,
                   np.concatenate(batches + [draw(3, 99)] * 2))


def add_rows(normalizer, seed):
    normalizer.partial_fit(draw(10, seed))
    normalizer._client.close()


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_processes_share_a_normalizer(normalizer, method):
    context = multiprocessing.get_context(method)
    processes = [context.Process(target=add_rows, args=(normalizer, seed),
                                 daemon=True)
                 for seed in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0
    assert_exactly(normalizer,
                   np.concatenate([draw(10, seed) for seed in range(3)]))


def test_a_fork_among_busy_threads_does_not_hang(transport):
    code = """
import os, sys, threading, time, streamnorm
client = streamnorm.connect(":memory:", transport=%r)
n = client.normalizer("n", 1)
n([[1.0]])
sys.setswitchinterval(2e-5)  # the threads ask for the GIL all the time
def busy():
    while True:
        pass
for _ in range(2):
    threading.Thread(target=busy, daemon=True).start()
for _ in range(3):
    pid = os.fork()
    if pid == 0:
        os._exit(not 1e-5 < sys.getswitchinterval() < 3e-5)
    deadline = time.monotonic() + 20
    while not (done := os.waitpid(pid, os.WNOHANG))[0]:
        if time.monotonic() > deadline:
            os.kill(pid, 9)
        time.sleep(0.01)
    assert done[1] == 0, done
assert 1e-5 < sys.getswitchinterval() < 3e-5
n([[3.0]])
print(n.n_samples_seen_, flush=True)
os._exit(0)
""" % transport
    done = subprocess.run([sys.executable, "-c", code], text=True,
                          capture_output=True, timeout=120)
    assert (done.stdout, done.stderr) == ("2\n", "")


def test_a_private_server_is_its_parents(transport):
    code = """
import os, streamnorm
client = streamnorm.connect(":memory:", transport=%r)
n = client.normalizer("n", 1)
n([[1.0]])
pid = os.fork()
if pid == 0:
    n([[2.0]])
    raise SystemExit(0)
assert os.waitpid(pid, 0)[1] == 0
n([[3.0]])
print(n.n_samples_seen_)
""" % transport
    done = subprocess.run([sys.executable, "-c", code], text=True,
                          capture_output=True, timeout=60)
    assert (done.stdout, done.stderr) == ("3\n", "")
