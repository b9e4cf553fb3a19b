"""Children forked after their parent has used its calculators, as multiprocessing.Pool makes them: they answer, and rightly."""

import multiprocessing
import os
import subprocess
import sys
import threading

import numpy as np
import pytest
from ase.build import molecule

from mlcalc.architectures.schnet.kernel import SchNetKernel
from mlcalc.common.threads import single_threaded_blas
from tests.conftest import SCHNETPACK_DIALECT, random_model

# A process that starts from nothing: what OpenMP, Numba and torch have done in the process of the tests must not matter. It
# prints the largest difference between parent and children.
SCRIPT = """
import multiprocessing, sys
backend, threads = sys.argv[1], int(sys.argv[2])
if backend == "torch":
    import torch
    torch.set_num_threads(threads)
import numpy as np
from ase.build import bulk
from mlcalc import CommitteeCalculator, SchNetCalculator
from tests.conftest import SCHNETPACK_DIALECT, random_model

models = [random_model(SCHNETPACK_DIALECT, seed) for seed in (1, 2)]
options = {"backend": backend, "threads": threads if backend == "numba" else None}
crystal = bulk("C", "diamond", a=3.57, cubic=True) * 3
shared = SchNetCalculator(models[0], **options), CommitteeCalculator(models, **options)

def evaluate(calculator, seed):
    atoms = crystal.copy()
    atoms.rattle(0.02, seed=seed)
    atoms.calc = calculator or SchNetCalculator(models[0], **options)
    return np.append(atoms.get_forces(), atoms.get_potential_energy() / len(atoms))

def in_child(number):
    return evaluate((*shared, None)[number], number)

expected = [evaluate((*shared, None)[number], number) for number in range(3)]
with multiprocessing.get_context("fork").Pool(2) as pool:
    found = pool.map_async(in_child, range(3), chunksize=1).get(timeout=200)
print(np.abs(np.subtract(found, expected)).max())
"""


@pytest.mark.parametrize("threads", [1, pytest.param(2, marks=pytest.mark.slow)])
@pytest.mark.parametrize("backend", ["numba", "torch"])
def test_a_pool_after_use_gives_the_numbers_of_its_parent(backend, threads):
    environment = os.environ | {"NUMBA_NUM_THREADS": "2", "OMP_NUM_THREADS": "2"}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, backend, str(threads)],
        env=environment, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    # Threads of torch share sums out; those of the kernel never do.
    assert float(done.stdout) == 0.0 if backend == "numba" else float(done.stdout) < 1e-5


def fork(function) -> int | None:
    """The exit code of a forked child that calls a function; None for one that does not come to an end."""
    child = multiprocessing.get_context("fork").Process(target=function)
    child.start()
    child.join(120)
    code = child.exitcode
    child.kill()
    return code


def test_a_fork_while_another_thread_evaluates_finds_open_locks():
    atoms = molecule("C2H2")
    kernel = SchNetKernel(random_model(SCHNETPACK_DIALECT), atoms.numbers, threads=1)
    expected = kernel(atoms.positions[None])[1]
    inside, leave = threading.Event(), threading.Event()

    def hold():
        with kernel._lock, single_threaded_blas()._lock:
            inside.set()
            leave.wait()

    def evaluate():
        assert np.array_equal(kernel(atoms.positions[None])[1], expected)

    holder = threading.Thread(target=hold)
    holder.start()
    inside.wait()
    code = fork(evaluate)
    leave.set()
    holder.join()
    assert code == 0
    evaluate()


def test_a_child_forked_within_a_limit_on_blas_gives_it_back():
    def leave():
        limits.__exit__()
        assert not limits._holders

    limits = single_threaded_blas()
    limits.__enter__()
    other = threading.Thread(target=limits.__enter__)
    other.start()
    other.join()
    try:
        assert fork(leave) == 0
    finally:
        limits._holders.clear()
        with limits:  # the last one to leave gives the limit back
            pass
