"""Times of float32 matrix products of given shapes on one thread, by the BLAS behind Numba's np.dot: "MxKxN …"."""

import argparse
import json
import time

import numba
import numpy as np
import scipy.linalg.cython_blas  # noqa: F401  (the BLAS that np.dot calls; loaded here so that it is listed below)
from threadpoolctl import threadpool_info, threadpool_limits

CALLS_FLOPS = 2e7  # of one timed loop: long beside the clock, short beside an interruption


@numba.njit
def repeat(a, b, out, count):
    """Multiply again and again, without Python between the products."""
    for _ in range(count):
        np.dot(a, b, out)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("shapes", nargs="+")
    parser.add_argument("--seconds", type=float, default=0.3, help="for each shape")
    arguments = parser.parse_args()
    with threadpool_limits(1):
        found = {shape: microseconds(*map(int, shape.split("x")), arguments.seconds) for shape in arguments.shapes}
    blas = {f"{library['internal_api']} {library['version']} {library.get('architecture', '')}".strip()
            for library in threadpool_info() if library["user_api"] == "blas" and "scipy.libs" in library["filepath"]}  # fmt: skip
    print(json.dumps({"us": found, "blas": ", ".join(sorted(blas))}))


def microseconds(m: int, k: int, n: int, seconds: float) -> float:
    """Shortest time of a product (m, k)·(k, n), in the cache: what no program improves on with this BLAS."""
    rng = np.random.default_rng(0)
    a, b = rng.random((m, k), np.float32), rng.random((k, n), np.float32)
    out, count = np.empty((m, n), np.float32), max(1, int(CALLS_FLOPS / (2 * m * k * n)))
    repeat(a, b, out, 1)
    best, end = np.inf, time.perf_counter() + seconds
    while time.perf_counter() < end:
        began = time.perf_counter()
        repeat(a, b, out, count)
        best = min(best, (time.perf_counter() - began) / count)
    return 1e6 * best


if __name__ == "__main__":
    main()
