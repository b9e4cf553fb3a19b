"""What is particular to compiled kernels: bits that depend on nothing but positions, tables, threads."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from ase.build import bulk, molecule
from threadpoolctl import threadpool_info, threadpool_limits

from mlcalc.architectures.painn import PaiNNConfig
from mlcalc.architectures.painn import filters as painn_filters
from mlcalc.architectures.schnet import filters as schnet_filters
from mlcalc.architectures.so3net import SO3netConfig
from mlcalc.architectures.so3net import filters as so3net_filters
from mlcalc.common.errors import InputError
from mlcalc.common.threads import single_threaded_blas
from mlcalc.potential import build_potential
from mlcalc.priors import Repulsion
from mlcalc.torch_potential import TorchPotential
from tests.conftest import ORIGINAL_DIALECT, SCHNETPACK_DIALECT, random_model

# Features that fill vectors of the processor, and features that are padded.
PAINN = PaiNNConfig(elements=(1, 6), n_features=16, n_interactions=2, n_rbf=12, cutoff=4.0, readout_hidden=8)
PAINN_PADDED = PaiNNConfig(elements=(1, 6), n_features=21, n_interactions=3, n_rbf=12, cutoff=4.0, readout_hidden=8)
SO3NET = SO3netConfig(elements=(1, 6), n_features=21, n_interactions=3, n_rbf=12, cutoff=4.0, readout_hidden=8)
CONFIGS = {
    "schnet": SCHNETPACK_DIALECT, "original": ORIGINAL_DIALECT, "painn": PAINN, "padded": PAINN_PADDED, "so3net": SO3NET,
}  # fmt: skip


@pytest.fixture(params=CONFIGS)
def model(request):
    """A random network of every kind, for H and C."""
    return random_model(CONFIGS[request.param])


@pytest.fixture(params=["schnet", "painn", "so3net"])
def local_model(request):
    """One that serves periodic systems."""
    return random_model(CONFIGS[request.param])


def kernel_of(model, numbers, precision="float32", threads=None, cell=None, pbc=None):
    return build_potential(model, numbers, precision, "numba", threads, cell, pbc)


@pytest.fixture
def replicas(hydrocarbon):
    numbers, positions = hydrocarbon
    return numbers, positions + np.random.default_rng(2).normal(0.0, 0.05, (5, *positions.shape))


@pytest.mark.parametrize("cache", [0, 1 << 40], ids=["groups of replicas", "one by one"])
def test_batch_equals_single_and_thread_count_does_not_matter(model, replicas, cache, monkeypatch):
    numbers, positions = replicas
    monkeypatch.setattr("mlcalc.architectures.kernels.potential._CACHE", cache)
    import numba

    energies, forces = kernel_of(model, numbers)(positions)
    single = kernel_of(model, numbers, threads=1)
    for replica in range(len(positions)):
        energy, force = single(positions[replica : replica + 1])
        assert energy[0] == energies[replica]
        assert np.array_equal(force[0], forces[replica])
    many = kernel_of(model, numbers, threads=numba.config.NUMBA_NUM_THREADS)
    assert np.array_equal(many(positions)[1], forces)


@pytest.fixture(params=[True, False, (True, False, True)], ids=["periodic", "cluster", "slab"])
def many_atoms(request):
    """Diamond of 96 atoms, three replicas: with two threads blocks of atoms are shared out, with one the replicas."""
    atoms = bulk("C", "diamond", a=3.57, cubic=True) * (2, 2, 3)
    atoms.pbc = request.param
    box = {"cell": atoms.cell.array, "pbc": atoms.pbc} if atoms.pbc.any() else {}
    shaken = atoms.positions + np.random.default_rng(7).normal(0.0, 0.05, (3, *atoms.positions.shape))
    return atoms.numbers, shaken, box


@pytest.mark.parametrize("dtype", [pytest.param("float64", marks=pytest.mark.slow), "float32"])
def test_blocks_of_atoms_give_the_bits_of_whole_replicas(local_model, many_atoms, dtype, monkeypatch):
    (numbers, positions, box), model = many_atoms, local_model
    results = []
    for block_cost in (0.0, 1e9):  # blocks always, never
        monkeypatch.setattr("mlcalc.architectures.kernels.potential._BLOCK_COST", block_cost)
        kernel = kernel_of(model, numbers, dtype, **box)
        results.append(kernel.evaluate(positions))
        assert kernel._shape == (len(positions), block_cost == 0.0)
    results.append(kernel_of(model, numbers, dtype, threads=1, **box).evaluate(positions))  # compiled for one thread
    for key in results[0]:
        assert np.array_equal(results[0][key], results[1][key]), key
        assert np.array_equal(results[0][key], results[2][key]), key


def test_blocks_of_atoms_agree_with_torch_network(local_model, many_atoms, monkeypatch):
    monkeypatch.setattr("mlcalc.architectures.kernels.potential._BLOCK_COST", 0.0)
    (numbers, positions, box), model = many_atoms, local_model
    compiled = kernel_of(model, numbers, "float64", **box).evaluate(positions[:1])
    reference = TorchPotential(model, numbers, "float64", **box).evaluate(positions[:1])
    for key, expected in reference.items():  # tables err by 1e-7 of the largest slope for each of some ten pairs
        tolerance = 1e-6 * max(10.0, np.abs(expected).max())
        np.testing.assert_allclose(compiled[key], expected, rtol=0, atol=tolerance, err_msg=key)


def test_result_does_not_depend_on_when_the_neighbour_list_was_made(local_model, many_atoms):
    """A list from before atoms moved holds other pairs beyond the cutoff, none of which may count."""
    (numbers, positions, box), model = many_atoms, local_model
    used, fresh = (kernel_of(model, numbers, **box) for _ in range(2))
    used(positions)
    moved = positions + np.random.default_rng(8).uniform(-0.28, 0.28, positions.shape)
    assert np.array_equal(used(moved)[1], fresh(moved)[1])
    assert used._neighbours.builds == 1


def filters_of(model, dtype):
    """The table of a model, and its exact filters as a function of distances."""
    for config, filters in ((PaiNNConfig, painn_filters), (SO3netConfig, so3net_filters)):
        if isinstance(model.config, config):
            return filters.filter_table(model, dtype), partial(filters.exact_filters, model, precision=dtype)
    return schnet_filters.filter_table(model, dtype), partial(schnet_filters.exact_filters, model)


@pytest.mark.parametrize("dtype, tolerance", [("float32", 5e-5), ("float64", 1e-7)])
def test_table_error_is_what_it_says(model, dtype, tolerance):
    """At random distances, not those that the table was measured at."""
    table, exact = filters_of(model, dtype)
    assert table.slope_error <= tolerance
    reach = table.spacing * table.coefficients.shape[1]
    distances = np.random.default_rng(6).uniform(0.0, reach, 400)
    values, slopes = exact(distances)
    knot = (distances / table.spacing).astype(int)
    s = (distances / table.spacing - knot)[:, None]
    a0, a1, a2, a3 = np.moveaxis(table.coefficients[:, knot].astype(float), 2, 0)
    rounding = {"float32": 3e-7, "float64": 1e-13}[dtype]
    value_error = np.abs(a0 + s * (a1 + s * (a2 + s * a3)) - values).max() / np.abs(values).max()
    slope_error = np.abs((a1 + s * (2 * a2 + 3 * s * a3)) / table.spacing - slopes).max() / np.abs(slopes).max()
    assert value_error <= 1.1 * table.value_error + rounding
    # A float32 coefficient is a difference of neighbours: its rounding counts 1/spacing times in the slope.
    assert slope_error <= 1.1 * table.slope_error + rounding / table.spacing


def test_uncut_filters_are_constant_beyond_the_table(hydrocarbon):
    """The original dialect connects all pairs; beyond its last Gaussian the filters no longer change."""
    kernel = kernel_of(random_model(ORIGINAL_DIALECT), np.array([6, 6]), "float64")
    positions = np.zeros((2, 2, 3))
    positions[:, 1, 0] = 50.0, 60.0
    energies, forces = kernel(positions)
    assert energies[0] == pytest.approx(energies[1], abs=1e-12)
    np.testing.assert_allclose(forces, 0.0, atol=1e-10)


def test_blas_threads_are_limited_and_given_back():
    def blas_threads() -> set[int]:
        return {library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"}

    with threadpool_limits(2, user_api="blas"):
        before = blas_threads()
        with single_threaded_blas():
            assert blas_threads() == {1}
            with single_threaded_blas():  # each evaluation asks again
                assert blas_threads() == {1}
            assert blas_threads() == {1}
        assert blas_threads() == before


@pytest.mark.parametrize(
    ("config", "title"),
    [(SCHNETPACK_DIALECT, "SchNet"), (PAINN, "PaiNN"), (SO3NET, "SO3net")],
    ids=["schnet", "painn", "so3net"],
)
def test_a_prior_without_compiled_code_is_refused(config, title):
    """Its energy would be missing."""
    model = random_model(config, priors={"charges": Repulsion(1.2)})
    with pytest.raises(InputError, match=f"prior 'charges': the compiled {title} knows repulsion, angular"):
        kernel_of(model, [6, 6])


def test_no_pair_beyond_the_cutoff_counts_without_a_cutoff_function():
    """A molecule wider than the cutoff: its list holds all pairs, and no filter vanishes by itself."""
    config = replace(SCHNETPACK_DIALECT, cutoff=3.0, cutoff_function="none")
    model, atoms = random_model(config, 0, np.float64, {}), molecule("C3H4_C2v")
    assert atoms.get_all_distances().max() > config.cutoff + 0.1
    energies, forces = zip(
        *(
            build_potential(model, atoms.numbers, "float64", backend)(atoms.positions[None])
            for backend in ("torch", "numba")
        ),
        strict=True,
    )
    np.testing.assert_allclose(*energies, rtol=0, atol=1e-6)
    np.testing.assert_allclose(*forces, rtol=0, atol=1e-5)
