"""Rows that layer and batch normalization can't tell apart, and training on
them in batches of 4.

A layer of 32 large inputs. Rows differ by a common factor and by a pattern,
and the label asks for both. Layer normalization takes the factor away; batch
normalization of 4 rows makes of a row whatever its three neighbours are.
`streamnorm` normalizes with the statistics of all rows so far.

    python3 seed_problem.py [--server localhost:50051]
"""

import argparse
import sys

import numpy as np
import streamnorm
import torch
from torch import nn

# Two rows of such a layer; the second is about 1.18 times the first.
SEED_ROWS = np.array([
    [1477.7378, 2719.646, 1040.3798, 1215.5387, 3542.7241, 266.893, 5944.856,
     -2105.2986, 4023.8545, -932.9826, 1617.7998, 4028.0327, -2225.9929,
     -1581.6738, -3424.425, -1329.661, 5483.1172, 5975.4663, 4483.0156,
     -373.3383, 482.225, -557.7921, 1385.3356, 196.1219, -375.9175, 1787.6195,
     -3516.9705, -687.9647, 2663.0601, -576.0363, 86.2473, 5765.6387],
    [1744.0067, 3214.6289, 1228.2401, 1436.6631, 4191.439, 318.6791,
     7028.2715, -2485.291, 4753.7217, -1105.6101, 1920.9307, 4758.9941,
     -2634.7754, -1861.2491, -4049.8877, -1578.7089, 6478.585, 7065.4326,
     5293.2305, -442.4786, 566.5157, -658.579, 1643.0204, 237.8128, -450.6484,
     2104.6516, -4151.9263, -815.9917, 3144.3291, -675.0918, 94.2207,
     6817.9795]])
BASE = SEED_ROWS.mean(0)
BATCH = 4
TRAINING_ROWS, TEST_ROWS = 4000, 1000


def draw(rows, seed):
    """Rows like the seed's, float32 [rows, 32], and labels 0 to 3 [rows]: two
    sizes of the common factor by two patterns."""
    rng = np.random.default_rng(seed)
    sizes, patterns = rng.integers(0, 2, (2, rows))
    factor = np.exp(np.where(sizes, 0.25, -0.25) + rng.normal(0, 0.08, rows))
    sign = np.where(np.arange(len(BASE)) % 3, 0.05, -0.05)
    bend = np.where(patterns, 1, -1)[:, None] * sign
    noise = rng.normal(1, 0.02, (rows, len(BASE)))
    x = factor[:, None] * BASE * (noise + bend)
    return x.astype(np.float32), 2 * sizes + patterns


def layer_norm(x):
    return (x - x.mean(1, keepdims=True)) / x.std(1, keepdims=True)


def batch_norm(x):
    return (x - x.mean(0)) / np.sqrt(x.var(0) + 1e-5)


def distance(z):
    """Mean difference per input of two normalized rows."""
    return float(np.abs(z[0] - z[1]).mean())


def jump(normalize, others):
    """How far one row's inputs move when its neighbours in the batch change:
    their standard deviation over many batches of 4."""
    results = [normalize(np.concatenate([SEED_ROWS[:1], batch]))[0]
               for batch in others]
    return float(np.std(results, axis=0).mean())


def compare_rows(n):
    """Prints what each makes of the two rows. Are the claims true?"""
    stream, _ = draw(4000, seed=1)
    for _ in n.normalize_iter(np.split(stream, len(stream) // BATCH)):
        pass
    others = np.split(draw(300, seed=2)[0], 100)
    print("the seed's two rows                 distance   jumps by neighbours")
    found = {}
    for name, normalize in [("layer norm", layer_norm),
                            ("batch norm, of 4 rows", batch_norm),
                            ("streamnorm, after 4,000 rows", n.transform)]:
        found[name] = (distance(normalize(SEED_ROWS)),
                       jump(normalize, others))
        print(f"  {name:32}{found[name][0]:10.4f}{found[name][1]:20.4f}")
    layer, batch, ours = found.values()
    return layer[0] < 0.01 and batch[1] > 0.3 and ours[0] > 0.3 and \
        ours[1] < 0.01


def train(batches):
    """A small net on normalized batches (z, y) of 4."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(len(BASE), 32), nn.ReLU(), nn.Linear(32, 4))
    optimizer = torch.optim.SGD(net.parameters(), lr=0.005, momentum=0.9)
    for z, y in batches:
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(z), y).backward()
        optimizer.step()
    return net


def accuracy(net, z, y):
    with torch.no_grad():
        return float((net(z).argmax(1) == y).float().mean())


def compare_training(n):
    """Prints the accuracy that each leads to. Are the claims true?"""
    x, y = map(torch.as_tensor, draw(TRAINING_ROWS, seed=3))
    test_x, test_y = map(torch.as_tensor, draw(TEST_ROWS, seed=4))
    batches = list(zip(x.split(BATCH), y.split(BATCH)))

    plain = nn.LayerNorm(len(BASE), elementwise_affine=False)
    net = train((plain(bx), by) for bx, by in batches)
    layer = accuracy(net, plain(test_x), test_y)

    net = train(n.normalize_iter(batches))
    trained_with = n.snapshot("trained")  # for whoever uses the net
    ours = accuracy(net, trained_with(test_x), test_y)

    print(f"test accuracy of a net trained on {TRAINING_ROWS:,} rows in "
          f"batches of {BATCH}")
    print(f"  layer norm of its inputs        {layer:7.1%}")
    print(f"  streamnorm of its inputs        {ours:7.1%}")
    return ours > 0.9 and layer < 0.6 and \
        trained_with.row_count == TRAINING_ROWS


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--server", default=":memory:",
                        help="address; default: a private server")
    options = parser.parse_args()
    torch.set_num_threads(1)
    with streamnorm.connect(options.server) as client:
        n = client.normalizer("seed_problem.rows", features=len(BASE))
        inputs = client.normalizer("seed_problem.inputs", features=len(BASE))
        try:
            good = compare_rows(n) & compare_training(inputs)
        finally:
            n.delete()
            inputs.delete()
    print("as claimed" if good else "NOT as claimed")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
