"""Molecular graphs of QM9 with zero-point energies, polarizabilities and, of a part, hyperpolarizabilities by GFN2-xTB.

    pip install 'mlcalc[molecules,label]' qm9pack
    python inputs/graphs/data_sets.py                       # graphs of 60 000 molecules, minutes
    python inputs/graphs/data_sets.py --hyperpolarizabilities 20000   # an hour; interrupt it, give it again

Molecules of which the SMILES is not that of the geometry, or of which GFN2-xTB does not converge, are named and left out.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
from ase import Atoms, units
from tqdm import tqdm

from mlcalc.common.errors import InputError, note, run_command
from mlcalc.common.files import make_folder
from mlcalc.data.finite_field import check_tblite, hyperpolarizability
from mlcalc.data.qm9 import find_qm9, read_qm9
from mlcalc.molecules.graphs.dataset import Graphs, joined, read_graphs, write_graphs
from mlcalc.molecules.graphs.features import Graph, graph_of
from mlcalc.molecules.toolkit import rdkit

DATA = Path(__file__).parent / "data"
GRAPHS, BETA = "graphs.safetensors", "hyperpolarizabilities.safetensors"
NUMBER, PART = 60_000, 1000
ZPVE, ALPHA, HYPER = "zero-point energy / eV", "polarizability / a0^3", "GFN2 hyperpolarizability / e^3 a0^3 Eh^-2"


def _graphs_of(molecules: list[Atoms]) -> tuple[list[Graph], list[Atoms]]:
    graphs, kept = [], []
    for atoms in tqdm(molecules, unit="molecule", disable=None):
        try:
            graphs.append(graph_of(atoms, atoms.info["smiles"]))
        except InputError as error:
            note(f"molecule {atoms.info['qm9']} of QM9 is left out: {error}")
            continue
        kept.append(atoms)
    return graphs, kept


def make_graphs(number: int, path: Path) -> Graphs:
    """Write graphs of molecules of QM9, in a random order, with both of its targets."""
    rdkit()
    molecules = list(read_qm9(find_qm9(), number))
    order = np.random.default_rng(1).permutation(len(molecules))
    graphs, kept = _graphs_of([molecules[k] for k in order])
    targets = {
        ZPVE: np.array([atoms.info["ZPVE_eV"] for atoms in kept]),
        ALPHA: np.array([atoms.info["polarizability_A3"] for atoms in kept]) / units.Bohr**3,
    }
    found = joined(graphs, targets)
    write_graphs(found, path)
    return found


def label_hyperpolarizabilities(number: int, data: Path) -> Graphs:
    """Write graphs of molecules of QM9 with |β| by GFN2-xTB; finished parts of a thousand are kept in between."""
    rdkit()
    check_tblite()
    molecules = list(read_qm9(find_qm9(), number, seed=2))
    order = np.random.default_rng(2).permutation(len(molecules))
    parts = []
    for k, start in enumerate(range(0, len(order), PART)):
        path = data / f"beta-{number}-{k}.safetensors"
        if not path.is_file():
            write_graphs(_labelled([molecules[m] for m in order[start : start + PART]]), path)
            print(f"{min(start + PART, len(order))} of {len(order)} molecules", flush=True)
        parts.append(read_graphs(path))
    found = Graphs(
        *(np.concatenate([getattr(part, name) for part in parts]) for name in ("atoms", "pairs", "counts")),
        {HYPER: np.concatenate([part.targets[HYPER] for part in parts])},
    )
    write_graphs(found, data / BETA)
    return found


def _labelled(molecules: list[Atoms]) -> Graphs:
    kept, values = [], []
    for atoms in tqdm(molecules, unit="molecule", disable=None):
        try:
            values.append(float(np.linalg.norm(hyperpolarizability(atoms))))
        except InputError as error:
            note(f"molecule {atoms.info['qm9']} of QM9 is left out: {error}")
            continue
        kept.append(atoms)
    graphs, again = _graphs_of(kept)
    known = {atoms.info["qm9"] for atoms in again}
    return joined(
        graphs, {HYPER: np.array([v for atoms, v in zip(kept, values, strict=True) if atoms.info["qm9"] in known])}
    )


def main() -> None:
    """Make what is missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--number", type=int, default=NUMBER, help=f"of molecules (default: {NUMBER})")
    parser.add_argument("--hyperpolarizabilities", type=int, metavar="NUMBER", help="label this number of molecules")
    parser.add_argument("--data", type=Path, default=DATA, help="folder to write (default: inputs/graphs/data)")
    options = parser.parse_args()
    sys.exit(run_command("data_sets.py", lambda: _main(options)))


def _main(options: argparse.Namespace) -> None:
    make_folder(options.data)
    if options.hyperpolarizabilities:
        found = label_hyperpolarizabilities(options.hyperpolarizabilities, options.data)
        where = BETA
    else:
        where = GRAPHS
        found = make_graphs(options.number, options.data / GRAPHS)
    print(f"{options.data / where}: {len(found)} molecules")
    for name, values in found.targets.items():
        print(f"{name}: mean {values.mean():.4g}, spread {values.std():.4g}")


if __name__ == "__main__":
    main()
