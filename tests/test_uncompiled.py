"""The compiled loops as plain Python: the same tests must pass without Numba's compiler."""

import os
import subprocess
import sys
from pathlib import Path

FILES = (
    "md/test_integrators.py",
    "md/test_normal_modes.py",
    "md/test_estimators.py",
    "md/test_gle.py",
    "md/test_rigid_motion.py",
    "mlcalc/test_neighbours.py",
)


STATISTICS = "not degrees_of_freedom and not frequency_dependent and not diatomic"  # would take minutes


def test_laws_of_motion_and_neighbour_lists_without_the_compiler():
    here = Path(__file__).parent
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "-k",
        STATISTICS,
        *(str(here / name) for name in FILES),
    ]
    done = subprocess.run(
        command, env=os.environ | {"NUMBA_DISABLE_JIT": "1"}, capture_output=True, text=True, cwd=here.parent
    )
    assert done.returncode == 0, done.stdout[-3000:]
