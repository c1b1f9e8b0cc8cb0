"""client/python: each row counts once, whatever breaks."""

import subprocess
import sys
import threading

import numpy as np
import pytest
import streamnorm
from python_client import assert_exactly, draw, moments, standardized
from server_process import SLOW_COMMITS


def again(server):
    """kill -9, and the same server on the same address and data."""
    server.kill()
    server.launch()
    server.read_addresses()


def counted(n, steps):
    """What `step` counts in these steps."""
    return np.concatenate([draw(1 + i % 4, i, "<f8") for i in steps])


def step(n, i):
    return n(draw(1 + i % 4, i, "<f8"))


def test_what_a_killed_server_lost_is_sent_again(start, join):
    server = start(SLOW_COMMITS)
    n = join(server).normalizer("n", 3)
    for i in range(20):
        step(n, i)
    again(server)
    for i in range(20, 30):
        z = step(n, i)
    assert_exactly(n, counted(n, range(30)))
    np.testing.assert_allclose(
        z, standardized(draw(2, 29, "<f8"), counted(n, range(30))))
    token = n.barrier()
    again(server)
    assert_exactly(n, counted(n, range(30)))
    assert len(token) > 16


def test_merges_and_exchanges_are_sent_again(start, join):
    server = start(SLOW_COMMITS)
    client = join(server)
    a, b = client.normalizer("a", 3), client.normalizer("b", 3)
    x, y = draw(30, 1, "<f8"), draw(20, 2, "<f8")
    a.merge(*moments(x))
    client.exchange([(a, *moments(y)), (b, *moments(y))])
    step(b, 3)
    again(server)
    client.exchange([(b, *moments(x)), (a, *moments(x))])
    again(server)
    a.merge(*moments(y))
    assert_exactly(a, np.concatenate([x, y, x, y]))
    client.barrier()
    assert_exactly(b, np.concatenate([y, draw(4, 3, "<f8"), x]))


def test_prefetched_batches_survive_a_kill(start, join):
    server = start(SLOW_COMMITS)
    n = join(server).normalizer("n", 3)
    batches = [draw(2, i, "<f8") for i in range(300)]
    for i, z in enumerate(n.normalize_iter(batches, ahead=16)):
        if i in (50, 200):
            again(server)
        assert z.shape == (2, 3)
    assert_exactly(n, np.concatenate(batches))


def test_rows_of_many_threads_count_once_through_kills(start, join):
    server = start("--commit_interval_ms=20")
    client = join(server)
    n = client.normalizer("n", 3)
    failures, done = [], threading.Event()

    def work(first):
        try:
            for i in range(first, first + 100):
                step(n, i)
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(k * 100,))
               for k in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(3):
        done.wait(0.15)
        again(server)
    for thread in threads:
        thread.join()
    assert not failures
    client.barrier()
    assert_exactly(n, counted(n, range(400)))


def test_a_job_resumes_from_its_checkpoint_and_counts_once(start, join):
    server = start("--commit_interval_ms=5")
    client = join(server)
    n = client.normalizer("n", 3)
    for i in range(10):
        step(n, i)
    token = client.barrier()
    for i in range(10, 15):  # not in the checkpoint
        step(n, i)
    n.merge(*moments(draw(9, 77)))
    client.abandon()
    resumed = join(server, resume=token)
    n = resumed.normalizer("n", 3)
    assert n.normalize(draw(1 + 10 % 4, 10, "<f8"))[1].duplicate
    for i in range(11, 15):
        step(n, i)
    assert n.merge(*moments(draw(9, 77))).answer.duplicate
    step(n, 15)
    assert_exactly(n, np.concatenate([counted(n, range(15)), draw(9, 77),
                                      counted(n, [15])]))


def test_who_was_given_up_is_refused(start, join):
    server = start()
    client = join(server)
    n = client.normalizer("n", 3)
    step(n, 0)
    token = client.barrier()
    join(server, resume=token)
    for _ in range(2):
        with pytest.raises(streamnorm.Aborted) as error:
            step(n, 1)
        assert error.value.reason == "EPOCH_FENCED"
        assert "connect anew" in error.value.hint
    assert n.n_samples_seen_ == 1
    with pytest.raises(streamnorm.Error):
        join(server, resume=b"no token")


def test_a_refused_update_leaves_no_gap(start, join):
    server = start(SLOW_COMMITS)
    n = join(server).normalizer("n", 3)
    for i in range(6):
        step(n, i)
        with pytest.raises(streamnorm.InvalidArgument):
            n(np.full((2, 3), np.inf))
    n.barrier()
    again(server)
    step(n, 6)
    n.barrier()
    assert_exactly(n, counted(n, range(7)))


def test_more_updates_than_are_kept_wait_for_the_disk(start, join):
    server = start(SLOW_COMMITS)
    n = join(server).normalizer("n", 3)
    rows = draw(1, 5)
    for _ in n.normalize_iter([rows] * 1500):
        pass
    for _ in range(700):
        n.partial_fit(rows)
    assert n.n_samples_seen_ == 2200


def test_an_update_that_timed_out_counts_once_later(start, join):
    server = start(SLOW_COMMITS)
    n = join(server, timeout=1.5).normalizer("n", 3)
    step(n, 0)
    server.kill()
    with pytest.raises(streamnorm.DeadlineExceeded, match="don't send it"):
        step(n, 1)
    # Either it is kept, or it was not sent: never something between.
    late = []
    try:
        n.merge(*moments(draw(8, 4)))
    except streamnorm.DeadlineExceeded:
        late = [draw(8, 4)]
    except streamnorm.Unavailable as error:
        assert "was not sent" in str(error)
    server.launch()
    server.read_addresses()
    step(n, 2)
    assert_exactly(n, np.concatenate([counted(n, [0, 1, 2]), *late]))


def test_a_server_that_lost_what_it_promised_is_found_out(start, join):
    server = start()
    client = join(server, timeout=3)
    n = client.normalizer("n", 3)
    step(n, 0)
    client.barrier()
    server.kill()
    server.data = "other"
    server.launch()
    server.read_addresses()
    with pytest.raises(streamnorm.Error) as error:
        step(n, 1)
    assert error.value.reason in ("SESSION_UNKNOWN", "HISTORY_LOST")


def test_close_leaves_everything_on_disk(start, join):
    server = start(SLOW_COMMITS)
    with join(server) as client:
        n = client.normalizer("n", 3)
        step(n, 0)
    assert join(server).server_info().sessions == 0
    again(server)
    assert_exactly(join(server).normalizer("n"), counted(n, [0]))
    with join(server) as client:
        n = client.normalizer("n", 3)
        step(n, 1)
        token = client.barrier()
    with join(server, resume=token) as client:
        n = client.normalizer("n", 3)
        step(n, 2)
        assert_exactly(n, counted(n, [0, 1, 2]))


def test_a_reset_in_a_job_that_is_resumed_keeps_its_numbers(start, join):
    server = start()
    client = join(server)
    n = client.normalizer("n", 3)
    step(n, 0)
    n.reset()
    step(n, 1)
    token = client.barrier()
    step(n, 2)
    client.abandon()
    n = join(server, resume=token).normalizer("n", 3)
    assert n.normalize(draw(3, 2, "<f8"))[1].duplicate
    step(n, 3)
    assert_exactly(n, counted(n, [1, 2, 3]))


def test_a_private_server_doesnt_outlive_its_process(transport):
    code = ("import os, streamnorm; c = streamnorm.connect(':memory:');"
            "print(c.address, flush=True); os.kill(os.getpid(), 9)")
    done = subprocess.run([sys.executable, "-c", code], text=True,
                          capture_output=True, timeout=60)
    address = done.stdout.strip()
    assert address.startswith("unix:")
    for _ in range(100):
        try:
            streamnorm.connect(address, timeout=0.1).abandon()
        except streamnorm.Unavailable:
            return
    pytest.fail(f"{address} still answers")
