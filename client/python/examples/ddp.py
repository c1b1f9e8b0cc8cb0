"""Data-parallel training with 2 rows a process, normalized by the rows of all.

Four processes (torch.distributed, gloo, one CPU) train one net of four layers
with DistributedDataParallel, each on batches of 2: once with BatchNorm1d, whose
batch is those 2 rows, and once with streamnorm.torch, whose layers share their
statistics through the server. SyncBatchNorm would make a batch of 8 of them,
and make each layer wait for the slowest process.

    python3 ddp.py [--server localhost:50051]
"""

import argparse
import os
import pathlib
import sys
import tempfile

import streamnorm
import streamnorm.torch as sn
import torch
import torch.distributed as dist
import torch.multiprocessing
from torch import nn
from torch.nn.parallel import DistributedDataParallel

PREFIX = "ddp"
PROCESSES, BATCH, STEPS = 4, 2, 300
PRIMING_BATCHES = 8  # a process: 64 rows in all
FEATURES, CLASSES, HIDDEN = 32, 6, 48


def draw(rows, seed):
    """[rows, 32] of places and spreads that differ by a feature, and the class
    of each, which a random net gave it."""
    shape = torch.Generator().manual_seed(99)
    teacher = torch.randn(FEATURES, CLASSES, generator=shape)
    place = 100 * torch.randn(FEATURES, generator=shape)
    spread = 10 ** (2 * torch.rand(FEATURES, generator=shape) - 1)
    rows_of = torch.Generator().manual_seed(seed)
    z = torch.randn(rows, FEATURES, generator=rows_of)
    return z * spread + place, (z @ teacher).argmax(1)


def make_net():
    torch.manual_seed(1)  # the same in every process
    widths = [FEATURES, HIDDEN, HIDDEN, HIDDEN]
    layers = [nn.BatchNorm1d(FEATURES)]
    for before, after in zip(widths, widths[1:]):
        layers += [nn.Linear(before, after), nn.BatchNorm1d(after), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(HIDDEN, CLASSES))


def batches(rank):
    """Those of one process."""
    x, y = draw(PROCESSES * STEPS * BATCH, seed=7)
    return list(zip(x[rank::PROCESSES].split(BATCH),
                    y[rank::PROCESSES].split(BATCH)))


def accuracy(net):
    x, y = draw(2000, seed=8)
    net.eval()
    with torch.no_grad():
        return float((net(x).argmax(1) == y).float().mean())


def train(net, data):
    parallel = DistributedDataParallel(net, broadcast_buffers=False)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.03, momentum=0.9)
    for x, y in data:
        optimizer.zero_grad()
        nn.functional.cross_entropy(parallel(x), y).backward()
        optimizer.step()


def work(rank, address, folder):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting",
                            rank=rank, world_size=PROCESSES)
    data = batches(rank)

    plain = make_net()
    train(plain, data)

    net = sn.convert(make_net(), client=address, prefix=PREFIX)
    sn.prime(net, data[:PRIMING_BATCHES])
    dist.barrier()  # all processes' rows are in before the first step
    train(net, data)
    sn.sync(net)  # this process's rows are counted
    dist.barrier()
    sn.sync(net)  # and so are the others': the same statistics in all

    if rank == 0:
        torch.save((accuracy(plain), accuracy(net), net.state_dict()),
                   f"{folder}/result")
    dist.destroy_process_group()


def names_of(net):
    """The normalizers that convert makes of it."""
    return [f"{PREFIX}.{path}" for path, layer in net.named_modules()
            if isinstance(layer, nn.BatchNorm1d)]


def check(client, folder):
    batchnorm, ours, state = torch.load(folder / "result")
    rows = PROCESSES * BATCH * (STEPS + PRIMING_BATCHES)
    good = ours > batchnorm + 0.3
    print(f"{PROCESSES} processes, {BATCH} rows each, {STEPS} steps, and "
          f"{PRIMING_BATCHES} before the first: {rows} rows")
    for name in names_of(make_net()):
        found = client.normalizer(name).statistics()
        mean = state[name[len(PREFIX) + 1:] + ".running_mean"]
        same = bool(torch.isclose(mean, torch.from_numpy(found.mean).float(),
                                  rtol=1e-4, atol=1e-6).all())
        print(f"  {name:8} the server counted {found.row_count}"
              + ("" if same else ", and the layer has OTHER statistics"))
        good &= found.row_count == rows and same
    print("test accuracy")
    print(f"  BatchNorm1d, of 2 rows          {batchnorm:7.1%}")
    print(f"  streamnorm, of all processes'   {ours:7.1%}")
    return good


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--server", default=":memory:",
                        help="address; default: a private server")
    options = parser.parse_args()
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    with streamnorm.connect(options.server) as client, \
            tempfile.TemporaryDirectory(prefix="sn-ddp-") as folder:
        try:
            torch.multiprocessing.spawn(work, (client.address, folder),
                                        PROCESSES)
            good = check(client, pathlib.Path(folder))
        finally:
            for normalizer in list(client.normalizers()):
                if normalizer.name.startswith(f"normalizers/{PREFIX}."):
                    client.normalizer(normalizer.name).delete()
    print("as claimed" if good else "NOT as claimed")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
