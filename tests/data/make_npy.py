"""Makes npy/*.npy, the golden files of tests/cli/npy_test.cc, with NumPy.

  make_npy.py FOLDER
"""

import sys

import numpy

# Exact in float16, float32 and float64.
ROWS = [[1.5, -2.25, 0.0], [1024.0, 0.0078125, float("nan")]]


def save(folder, name, array, version=None):
    with open(f"{folder}/{name}.npy", "wb") as out:
        numpy.lib.format.write_array(out, numpy.asanyarray(array), version)


def main(folder):
    for dtype in ("float16", "float32", "float64"):
        save(folder, dtype, numpy.array(ROWS, dtype))
    save(folder, "version_2", numpy.array(ROWS, "float32"), (2, 0))
    save(folder, "version_3", numpy.array(ROWS, "float32"), (3, 0))
    save(folder, "one_dimension", numpy.array([1.0, 2.0, 3.0], "float64"))
    save(folder, "three_dimensions", numpy.zeros((2, 2, 2), "float64"))
    save(folder, "no_dimension", numpy.array(1.0))
    save(folder, "no_rows", numpy.zeros((0, 3), "float32"))
    save(folder, "big_endian", numpy.array(ROWS, ">f4"))
    save(folder, "integers", numpy.array([[1, 2, 3]], "int64"))
    save(folder, "structured",
         numpy.zeros((2,), [("a", "<f4"), ("b", "<f4")]))
    save(folder, "fortran_order", numpy.asfortranarray(
        numpy.array(ROWS, "float64")))


if __name__ == "__main__":
    main(sys.argv[1])
