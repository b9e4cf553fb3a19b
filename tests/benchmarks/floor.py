"""The shortest time in which matrix products alone could be done: a bound for every program that uses this BLAS.

Per atom a PaiNN of F features and T interactions multiplies, forward and again for forces with the transposed weights (K × N):

==============  =========  ==========================================================================================
K × N           rows       where
==============  =========  ==========================================================================================
F × F, F × 3F   1          context of messages, T − 1 times: that of the first block depends on elements alone
F × 2F          3          mixing of the vectors' channels, T times
2F × F          1          mixing of scalars and norms, T times
F × 3F          1          the same; F × 2F in the last block, whose vectors nothing reads
F × hidden      1          readout
==============  =========  ==========================================================================================

An SO3net of L degrees and S = L² components:

==============  =========  ==========================================================================================
F × F           S          M₁, T times
F × F, F × F    S          M₂ and M₃; 1 row in the last block, whose scalars alone are read
F × LF          1          gates; F × F in the last block
F × hidden      1          readout
==============  =========  ==========================================================================================

The times of the products are measured with one replica and with eight replicas at once; the shorter one counts. Pairs, filters
and activations come on top.
"""

from pathlib import Path
from typing import NamedTuple

from tests.benchmarks.peer_process import run_peer

_REPLICAS = (1, 8)  # in one product


class Product(NamedTuple):
    """rows of an atom (rows, inner)·(inner, outer), ``count`` times."""

    rows: int
    inner: int
    outer: int
    count: int


def painn_products(config) -> list[Product]:
    """Of energy and forces, see above; config: PaiNNConfig."""
    f, blocks = config.n_features, config.n_interactions
    forward = [
        Product(1, f, f, blocks - 1),
        Product(1, f, 3 * f, 2 * (blocks - 1)),
        Product(1, f, 2 * f, 1),
        Product(3, f, 2 * f, blocks),
        Product(1, 2 * f, f, blocks),
        Product(1, f, config.readout_hidden, 1),
    ]
    return _with_adjoint(forward)


def so3net_products(config) -> list[Product]:
    """Of energy and forces, see above; config: SO3netConfig."""
    f, blocks, n_degrees = config.n_features, config.n_interactions, config.lmax + 1
    forward = [
        Product(n_degrees**2, f, f, blocks + 2 * (blocks - 1)),
        Product(1, f, n_degrees * f, blocks - 1),
        Product(1, f, f, 3),
        Product(1, f, config.readout_hidden, 1),
    ]
    return _with_adjoint(forward)


def _with_adjoint(forward: list[Product]) -> list[Product]:
    forward = [product for product in forward if product.count]
    return forward + [product._replace(inner=product.outer, outer=product.inner) for product in forward]


PRODUCTS = {"painn": painn_products, "so3net": so3net_products}


def flops(products: list[Product]) -> int:
    """Of one atom."""
    return sum(2 * p.rows * p.inner * p.outer * p.count for p in products)


def measure_products(products: list[Product], n_atoms: int, seconds: float) -> dict | None:
    """Shortest times in µs by shape "MxKxN", ``us``, and the name of the BLAS, ``blas``; a separate process on one core."""
    shapes = sorted({_shape(p, n_atoms * replicas) for p in products for replicas in _REPLICAS})
    arguments = [*shapes, "--seconds", str(seconds)]
    return run_peer("matrix products", "matrix_products.py", None, Path(), 1, arguments)


def floor_ms(products: list[Product], n_atoms: int, n_beads: int, threads: int, us: dict[str, float]) -> float:
    """Milliseconds of all products of P replicas shared by the threads."""
    total = 0.0
    for p in products:
        times = [us[_shape(p, n_atoms * n)] / n for n in _REPLICAS if n <= n_beads]
        total += p.count * n_beads * min(times)
    return 1e-3 * total / threads


def _shape(product: Product, atoms: int) -> str:
    return f"{product.rows * atoms}x{product.inner}x{product.outer}"
