"""Networks and molecules that several test files share. Everything is made here; no test needs files from elsewhere."""

import os
import signal
import sys
from pathlib import Path

import numba
import numpy as np
import pytest
from hypothesis import HealthCheck, settings

from mlcalc.architectures import architecture_of
from mlcalc.architectures.schnet.config import SchNetConfig
from mlcalc.model import Model
from mlcalc.model_file import save_model
from mlcalc.priors import Repulsion

# How fast the machine is, is not what these tests are about.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")

# Commands that tests and notebooks start by name are those of this interpreter, its environment activated or not.
os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])

# Numbers of Numba threads to try: two where Numba was started with as many.
THREADS = sorted({1, min(2, numba.config.NUMBA_NUM_THREADS)})


# Files that compile the loops of all networks.
_COMPILING = {
    "tests/benchmarks/test_benchmarks.py", "tests/md/test_potential_contract.py", "tests/mlcalc/test_architectures.py",
    "tests/mlcalc/test_kernel.py", "tests/mlcalc/test_so3net_kernel.py",
}  # fmt: skip


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Hand out whole files to processes, and those of _COMPILING to one: two processes would both compile the same loops."""
    if config.getoption("dist") != "load":  # what -n asks for where nothing else is said
        return None
    from xdist.scheduler import LoadFileScheduling

    class Scheduling(LoadFileScheduling):
        def _split_scope(self, nodeid):
            file = super()._split_scope(nodeid)
            return "compiled loops" if file in _COMPILING else file

    return Scheduling(config, log)


_HANDLERS = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}


def _restore_handlers() -> None:
    for number, handler in _HANDLERS.items():
        signal.signal(number, handler)


@pytest.fixture(autouse=True)
def signal_handlers():
    """Those of the start hold before each test, behind the fixtures of its module, and after it.

    i-PI in this process leaves its own. Workers forked under a handler that does not end them outlive their pool, which waits.
    """
    _restore_handlers()
    yield
    _restore_handlers()


SCHNETPACK_DIALECT = SchNetConfig(
    elements=(1, 6), n_features=16, n_interactions=2, n_rbf=12, cutoff=4.0, readout_hidden=8, readout_activation="silu",
)  # fmt: skip
ORIGINAL_DIALECT = SchNetConfig(
    elements=(1, 6), n_features=16, n_interactions=3, n_rbf=40, cutoff=None, cutoff_function="none",
    filter_output_activation=True, readout_hidden=8,
)  # fmt: skip


def random_model(config, seed: int = 0, dtype=np.float32, priors: dict | None = None, **metadata) -> Model:
    """A network with random weights of the size that training gives, so that forces are some eV/Å.

    Without word of priors, those with a cutoff have a repulsion below 1.2 Å.
    """
    if priors is None:
        priors = {"repulsion": Repulsion(1.2)} if config.cutoff else {}
    rng = np.random.default_rng(seed)
    weights = {}
    for name, shape in architecture_of(config).weight_shapes(config).items():
        fan_in = shape[-1] if len(shape) == 2 else 4
        weights[name] = rng.normal(0.0, 1.2 / np.sqrt(fan_in), shape).astype(dtype)
    reach = config.cutoff or 8.0
    weights["radial_basis.centers"] = np.linspace(0.0, reach, config.n_rbf, dtype=dtype)
    spacing = reach / (config.n_rbf - 1)
    weights["radial_basis.coefficients"] = np.full(config.n_rbf, 0.5 / spacing**2, dtype=dtype)
    if "angular_basis.centers" in weights:
        weights |= _symmetry_functions(config, rng, dtype)
    weights["energy_scale"] = np.float64(0.7)[()] * np.ones(())
    weights["energy_shift"] = np.array([-13.6, -1029.0])[: len(config.elements)]
    return Model(config, weights, metadata, priors)


def _symmetry_functions(config, rng, dtype) -> dict[str, np.ndarray]:
    """Constants of symmetry functions of H and C, of the size that training data give; radial ones go with Z, angular with Z²."""
    n_angular, last = config.n_angular, config.cutoff - 0.5
    typical = np.repeat([2.0, 10.0], [config.n_rbf, 2 * n_angular]).astype(dtype)
    spread = rng.uniform(0.5, 1.5, (2, len(config.elements), len(typical))).astype(dtype)
    return {
        "radial_basis.centers": np.linspace(0.5, last, config.n_rbf, dtype=dtype),
        "radial_basis.coefficients": np.full(config.n_rbf, 0.5 * ((config.n_rbf - 1) / (last - 0.5)) ** 2, dtype=dtype),
        "angular_basis.centers": np.zeros(n_angular, dtype=dtype),
        "angular_basis.coefficients": 0.5 / np.linspace(1.0, last, n_angular, dtype=dtype) ** 2,
        "mean": spread[0] * typical,
        "deviation": spread[1] * typical,
    }


@pytest.fixture(params=[SCHNETPACK_DIALECT, ORIGINAL_DIALECT], ids=["schnetpack", "original"])
def model(request) -> Model:
    """A random network of either dialect, for H and C."""
    return random_model(request.param)


@pytest.fixture
def hydrocarbon():
    """Atomic numbers (7,) and positions (7, 3) Å of a shaken molecule with unequal distances."""
    from ase.build import molecule

    atoms = molecule("C3H4_C3v")
    rng = np.random.default_rng(1)
    return atoms.numbers, atoms.positions + rng.normal(0.0, 0.05, atoms.positions.shape)


def write_acetylene(folder, keys: str) -> None:
    """Input ``run.toml`` for acetylene on a random network, cold and gentle enough to stay whole; output in ``out``."""
    from ase.build import molecule
    from ase.io import write

    model = random_model(SCHNETPACK_DIALECT, domain={"min_distance_A": 0.9, "max_nearest_distance_A": 1.4})
    save_model(model, folder / "net.safetensors")
    write(folder / "start.xyz", molecule("C2H2"), format="extxyz")
    (folder / "run.toml").write_text(
        f'structure = "start.xyz"\nmodel = "{folder}/net.safetensors"\noutput = "{folder}/out"\n'
        f"temperature_K = 50.0\ntimestep_fs = 0.05\nthreads = 1\n{keys}"
    )


def rpmd_run(folder, *options: str) -> int:
    """``rpmd run`` of the input in a folder, without the figure; returns the exit code."""
    from md.cli import main

    return main(["run", str(folder / "run.toml"), "--no-figure", *options])


def is_alive(pid: int) -> bool:
    """Whether a process runs, and is no zombie."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
