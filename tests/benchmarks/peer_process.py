"""Measurements of peers, each in a separate process and, if necessary, its own environment."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

LARGEST_DIFFERENCE = 1e-3  # eV/Å between two float32 programs
_PEERS = Path(__file__).parent / "peers"


def in_agreement(peers: list[str], measure: Callable[[str], dict | None]) -> Iterator[dict]:
    """Reports of peers on one problem, with ``peer`` and ``force_difference`` (eV/Å) to the first; without peers that disagree."""
    reference = None
    for peer in peers:
        found = measure(peer)
        if found is None:
            continue
        forces = np.array(found.pop("forces"))
        reference = forces if reference is None else reference
        difference = float(np.abs(forces - reference).max())
        if difference > LARGEST_DIFFERENCE:
            print(f"{peer}: forces differ by {difference:.2g} eV/Å: not the same network", file=sys.stderr)
            continue
        yield {"peer": peer, "force_difference": difference} | found


def run_peer(
    name: str, script: str, environment: str | None, environments: Path | None, threads: int, arguments: list[str]
) -> dict | None:  # fmt: skip
    """The report of a script in peers/.

    Args:
        name: Its name in notes.
        environment: Folder under ``environments`` created by make_environments.sh; None for the present environment.
        threads: Number of threads, and of cores.

    Returns:
        The script's line of JSON; None, after a note with the reason, if there is none.
    """
    python = sys.executable
    if environment is not None:
        python = str((environments or Path("none")) / environment / "bin" / "python")
        if not Path(python).exists():
            print(f"{name}: left out, no environment {environment!r}; see --help", file=sys.stderr)
            return None
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")
    limits = dict.fromkeys(names, str(threads))
    if threads == 1:  # XLA has no thread count, only a switch for several threads
        limits["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
    cores = ",".join(str(core) for core in sorted(os.sched_getaffinity(0))[:threads])
    command = ["taskset", "-c", cores, python, str(_PEERS / script), *arguments]
    done = subprocess.run(command, env=os.environ | limits, capture_output=True, text=True)
    if done.returncode:
        print(f"{name}: failed ({done.returncode})\n{done.stderr[-2000:]}", file=sys.stderr)
        return None
    return json.loads(done.stdout.splitlines()[-1])
