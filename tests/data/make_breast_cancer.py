"""Makes breast_cancer.csv from the copy that Debian's python3-sklearn carries.

  make_breast_cancer.py > breast_cancer.csv

That file begins with a line of counts and ends each row with the diagnosis; ours
begins with the names of the features and has nothing but them. The numbers are
copied as text, so that not a digit changes.
"""

import sys

SOURCE = ("/usr/lib/python3/dist-packages/sklearn/datasets/data/"
          "breast_cancer.csv")
MEASUREMENTS = ["radius", "texture", "perimeter", "area", "smoothness",
                "compactness", "concavity", "concave points", "symmetry",
                "fractal dimension"]
NAMES = ([f"mean {what}" for what in MEASUREMENTS]
         + [f"{what} error" for what in MEASUREMENTS]
         + [f"worst {what}" for what in MEASUREMENTS])


def main():
    with open(SOURCE) as source:
        rows, features, *_ = next(source).split(",")
        assert int(features) == len(NAMES), features
        print(",".join(NAMES))
        written = 0
        for line in source:
            *values, diagnosis = line.strip().split(",")
            assert len(values) == len(NAMES) and diagnosis in "01", line
            print(",".join(values))
            written += 1
    assert written == int(rows), written


if __name__ == "__main__":
    sys.exit(main())
