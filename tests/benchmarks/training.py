"""Whether small batches train like large ones: nets with StreamNorm through a
real server, beside batch normalization and others.

  training.py [SUITE...] [--seeds N] [--epochs N]

Each method gets the same nets, data, epochs and learning rates; its best rate
(mean over the seeds of the accuracy on rows that it was not trained with)
counts. Needs STREAMNORM_SERVER_BINARY; ./run bench training sets it.
"""

import argparse
import itertools
import sys
import time

import numpy as np
import torch
from torch import nn

import streamnorm
import streamnorm.torch as sn

RATES = (1e-3, 3e-3, 1e-2)
TRAIN_ROWS, TEST_ROWS = 3000, 2000
PRIMING_ROWS = 128


# Data: x, y of 3,000 rows to train with and 2,000 to test with.

def clusters(seed):
    """scikit-learn's generator: 10 classes of 2 clusters each in 12 of 32
    features."""
    from sklearn.datasets import make_classification
    return split(*make_classification(
        TRAIN_ROWS + TEST_ROWS, 32, n_informative=12, n_redundant=0,
        n_classes=10, n_clusters_per_class=2, class_sep=1.5, flip_y=0,
        random_state=seed))


def common_scale(seed):
    """Like the seed's rows: a class is one of 5 directions and one of 2
    lengths; what normalizes each row by itself can't see the length."""
    rng = np.random.default_rng(2000 + seed)
    rows = TRAIN_ROWS + TEST_ROWS
    direction, size = rng.integers(5, size=rows), rng.integers(2, size=rows)
    x = rng.standard_normal((5, 32))[direction]
    x += 0.7 * rng.standard_normal((rows, 32))
    x *= np.where(size, 2000.0, 1000.0)[:, None]
    return split(x, direction * 2 + size)


def digits(seed):
    """Real: scikit-learn's handwritten digits, 64 pixels, 10 classes."""
    from sklearn.datasets import load_digits
    x, y = load_digits(return_X_y=True)
    order = np.random.default_rng(seed).permutation(len(x))
    return split(x[order], y[order], 1200)


def split(x, y, train=TRAIN_ROWS):
    x = torch.tensor(x, dtype=torch.float32)
    y = torch.tensor(y)
    return x[:train], y[:train], x[train:], y[train:]


# Nets. A method makes one, for a client and normalizers that begin with tag.

def net(features, depth, norm, norm_inputs):
    layers, width = [norm(features)] if norm_inputs else [], features
    for _ in range(depth):
        layers += [nn.Linear(width, 64), norm(64), nn.ReLU()]
        width = 64
    return nn.Sequential(*layers, nn.Linear(width, 10))


def stream_norm(**options):
    def make(client, tag, *shape):
        model = net(*shape[:2], nn.BatchNorm1d, *shape[2:])
        return sn.convert(model, client, tag, **options)
    return make


def plain(norm):
    return lambda client, tag, *shape: net(*shape[:2], norm, *shape[2:])


METHODS = {
    "BatchNorm": plain(nn.BatchNorm1d),
    "LayerNorm": plain(nn.LayerNorm),
    "StreamNorm": stream_norm(),
    "StreamNorm, async": stream_norm(exchange="async"),
    "running statistics as constants": stream_norm(backward="constant",
                                                   center=False),
}


def accuracy(model, x, y):
    model.eval()
    with torch.no_grad():
        return 100 * (model(x).argmax(1) == y).double().mean().item()


def batches_of(rows, batch, rng):
    """Whole batches in random order."""
    order = torch.from_numpy(rng.permutation(rows))
    return order[:rows // batch * batch].view(-1, batch)


def train(workers, data, batch, rate, epochs, seed, history=None):
    """Data parallel: `workers` are models of the same parameters, each with a
    client of its own, and a step averages their gradients. Accuracy of the
    first after the last epoch."""
    x, y, test_x, test_y = data
    rng = np.random.default_rng(3000 + seed)
    priming = x[torch.from_numpy(rng.permutation(len(x))[:PRIMING_ROWS])]
    for worker, rows in zip(workers, priming.chunk(len(workers))):
        sn.prime(worker, rows.split(batch))
    optimizer = torch.optim.Adam(workers[0].parameters(), lr=rate)
    for _ in range(epochs):
        for worker in workers:
            worker.train()
        losses = []
        for rows in batches_of(len(x), batch * len(workers), rng):
            optimizer.zero_grad(set_to_none=True)
            for worker, own in zip(workers, rows.chunk(len(workers))):
                loss = nn.functional.cross_entropy(worker(x[own]), y[own])
                (loss / len(workers)).backward()
                losses.append(loss.item())
            optimizer.step()
        found = accuracy(workers[0], test_x, test_y)
        if history is not None:
            history.append((np.mean(losses), found))
    return found


def replicas(make, address, tags, shape):
    """One model per tag: own normalizers' layers and client, the first one's
    parameters."""
    clients = [streamnorm.connect(address) for _ in tags]
    models = [make(client, tag, *shape) for client, tag in zip(clients, tags)]
    for model in models[1:]:
        for own, first in zip(model.modules(), models[0].modules()):
            own._parameters.update(first._parameters)
    return clients, models


class Suite:
    """Measures methods on one kind of data and net."""

    def __init__(self, client, arguments, data, depth, norm_inputs=False):
        self.client, self.arguments = client, arguments
        self.data, self.depth, self.norm_inputs = data, depth, norm_inputs
        self.best_rates = {}  # by label, as measured

    def prepared(self, seed):
        x, y, test_x, test_y = self.data(seed)
        if self.norm_inputs:
            return x, y, test_x, test_y
        # The same for every method: hidden layers are what is compared.
        mean, std = x.mean(0), x.std(0) + 1e-12
        return (x - mean) / std, y, (test_x - mean) / std, test_y

    def run_once(self, method, batch, rate, seed, workers=1, shared=True,
                 history=None):
        torch.manual_seed(seed)
        data = self.prepared(seed)
        shape = data[0].shape[1], self.depth, self.norm_inputs
        run = f"run{next(_runs)}"
        tags = [run if shared else f"{run}-{i}" for i in range(workers)]
        clients, models = replicas(METHODS[method], self.client.address, tags,
                                   shape)
        try:
            return train(models, data, batch, rate, self.arguments.epochs,
                         seed, history)
        finally:
            for client in clients:
                client.close()

    def measure(self, label, method, batch, **options):
        begin = time.monotonic()
        means, deviations = [], []
        for rate in RATES:
            found = [self.run_once(method, batch, rate, seed, **options)
                     for seed in range(self.arguments.seeds)]
            means.append(np.mean(found))
            deviations.append(np.std(found))
        best = int(np.argmax(means))
        self.best_rates[label] = RATES[best]
        print(f"| {label} | {means[best]:.1f} | {deviations[best]:.1f} | "
              f"{' / '.join(f'{m:.1f}' for m in means)} |", flush=True)
        print(f"{label}: {time.monotonic() - begin:.0f} s", file=sys.stderr)
        return means[best]


_runs = itertools.count()


class Verdicts:
    """Whether the figures are what they should be."""

    def __init__(self):
        self.lines = []

    def at_least(self, what, value, bound):
        self.lines.append(f"- {what}: {value:+.1f} points (at least "
                          f"{bound:+.1f}: {'yes' if value >= bound else 'NO'})")

    def print(self):
        print("\n" + "\n".join(self.lines) + "\n", flush=True)


def depth_suite(suite, bound):
    def run():
        verdicts = Verdicts()
        mark = suite.measure("BatchNorm, batch 128", "BatchNorm", 128)
        small = suite.measure("BatchNorm, batch 4", "BatchNorm", 4)
        suite.measure("LayerNorm, batch 4", "LayerNorm", 4)
        suite.measure("running statistics as constants, batch 4",
                      "running statistics as constants", 4)
        ours = suite.measure("**StreamNorm, batch 4**", "StreamNorm", 4)
        suite.measure("BatchNorm, batch 2", "BatchNorm", 2)
        two = suite.measure("**StreamNorm, batch 2**", "StreamNorm", 2)
        verdicts.at_least("StreamNorm at batch 4 over BatchNorm at 128",
                          ours - mark, -1)
        verdicts.at_least("BatchNorm at 128 over BatchNorm at 4",
                          mark - small, bound)
        verdicts.at_least("StreamNorm at batch 2 over BatchNorm at 128",
                          two - mark, -2)
        verdicts.print()
    return run


def scale_suite(suite):
    def run():
        verdicts = Verdicts()
        mark = suite.measure("BatchNorm, batch 128", "BatchNorm", 128)
        suite.measure("BatchNorm, batch 4", "BatchNorm", 4)
        layer = suite.measure("LayerNorm, batch 4", "LayerNorm", 4)
        ours = suite.measure("**StreamNorm, batch 4**", "StreamNorm", 4)
        verdicts.at_least("StreamNorm at batch 4 over BatchNorm at 128",
                          ours - mark, -1)
        verdicts.at_least("BatchNorm at 128 over LayerNorm", mark - layer, 20)
        verdicts.print()
    return run


def workers_suite(suite):
    def run():
        verdicts = Verdicts()
        mark = suite.measure("BatchNorm, batch 128", "BatchNorm", 128)
        suite.measure("8 workers x 4, BatchNorm", "BatchNorm", 4, workers=8)
        alone = suite.measure("8 workers x 4, StreamNorm, each alone",
                              "StreamNorm", 4, workers=8, shared=False)
        ours = suite.measure("**8 workers x 4, StreamNorm**", "StreamNorm", 4,
                             workers=8)
        late = suite.measure("**8 workers x 4, StreamNorm, async**",
                             "StreamNorm, async", 4, workers=8)
        verdicts.at_least("StreamNorm over BatchNorm at 128", ours - mark, -1)
        verdicts.at_least("StreamNorm over each worker alone", ours - alone, 0)
        verdicts.at_least("asynchronous over synchronous", late - ours, -2)
        verdicts.print()
    return run


def digits_suite(suite):
    def run():
        histories = {}
        for label, method, batch in (
                ("BatchNorm, batch 128", "BatchNorm", 128),
                ("BatchNorm, batch 4", "BatchNorm", 4),
                ("LayerNorm, batch 4", "LayerNorm", 4),
                ("**StreamNorm, batch 4**", "StreamNorm", 4)):
            suite.measure(label, method, batch)
            history = histories[label.strip("*")] = []
            suite.run_once(method, batch, suite.best_rates[label], 0,
                           history=history)
        print(flush=True)
        if suite.arguments.figures:
            draw(histories, suite.arguments.figures)
    return run


def draw(histories, folder):
    """Loss and accuracy after each epoch, each method at its best rate."""
    import matplotlib
    matplotlib.use("Agg")  # to files, without a screen
    import matplotlib.pyplot as plt
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.5), layout="constrained")
    for label, history in histories.items():
        epochs = range(1, len(history) + 1)
        for axis, values in zip(axes, zip(*history)):
            axis.plot(epochs, values, marker="o", markersize=3, label=label)
    for axis, what in zip(axes, ("loss of the training rows",
                                 "accuracy of the test rows, %")):
        axis.set_xlabel("epoch")
        axis.set_title(what, fontsize=10)
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.grid(alpha=0.3)
    axes[0].set_yscale("log")
    axes[1].legend(fontsize=8)
    figure.savefig(f"{folder}/training_digits.png", dpi=110)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("suites", nargs="*", default=[], metavar="SUITE",
                        help="three, eight, scale, workers, digits")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--figures", metavar="DIR",
                        help="where the curves of digits are drawn")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with streamnorm.connect(":memory:") as client:
        def suite(*what, **options):
            return Suite(client, arguments, *what, **options)
        suites = {
            "three": ("3 hidden layers", depth_suite(suite(clusters, 3), 10)),
            "eight": ("8 hidden layers", depth_suite(suite(clusters, 8), 15)),
            "scale": ("A common scale carries half of the label",
                      scale_suite(suite(common_scale, 3, norm_inputs=True))),
            "workers": ("8 workers, 8 hidden layers",
                        workers_suite(suite(clusters, 8))),
            "digits": ("Handwritten digits, 6 hidden layers",
                       digits_suite(suite(digits, 6)))}
        unknown = set(arguments.suites) - set(suites)
        if unknown:
            parser.error(f"suite: {unknown.pop()}, want {', '.join(suites)}")
        for name in arguments.suites or suites:
            title, run = suites[name]
            rates = " / ".join(map(str, RATES))
            print(f"### {title}\n\n| method | accuracy, % | sd of "
                  f"{arguments.seeds} seeds | at rates {rates} |\n"
                  "|---|---|---|---|", flush=True)
            run()


if __name__ == "__main__":
    main()
