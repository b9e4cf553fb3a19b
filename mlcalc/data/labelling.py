"""Labels: energies and forces of many structures from any engine, in worker processes that can be killed at any time.

    structures.xyz ──► workers (one calculator each) ──► OUT.xyz.journal ──► OUT.xyz, OUT.failed.xyz

The journal is the state: one JSON line per labelled structure, flushed to disk as it arrives, under a first line that
names the engine. A later run with the same output skips what the journal holds, so a kill loses only what was in
flight; an input that has grown is continued. OUT.xyz is written from it in the input's order, atomically.
"""

import hashlib
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

from mlcalc.common.errors import InputError
from mlcalc.common.files import write_atomically
from mlcalc.data.engines import make_calculator, set_state
from mlcalc.data.journal import append, open_journal
from mlcalc.data.workers import KEPT, discard, outcomes
from mlcalc.structures.electronic_state import ElectronicState, electronic_state, is_ground, state_of_results
from mlcalc.structures.labels import read_labels
from mlcalc.structures.structure_files import drop_constraints, read_atoms
from mlcalc.structures.unit_names import is_statement


@dataclass(frozen=True)
class LabelReport:
    """The outcome of a labelling run.

    Attributes:
        total: Structures in the input.
        labelled: Structures that have labels now.
        resumed: Structures among them that an earlier run had labelled.
        failures: Index in the input → reason, for the other structures.
        output: The labelled structures, in the input's order.
        failed_output: The failed ones with ``info["reason"]``; None when there are none.
    """

    total: int
    labelled: int
    resumed: int
    failures: dict[int, str]
    output: Path
    failed_output: Path | None


def label_file(structures: Path, engine: str, output: Path, jobs: int = 1, subtract: bool = False) -> LabelReport:
    """Label every structure of a file; run it again to continue or to retry failures.

    Args:
        structures: Any file that ASE reads, usually extxyz; info and arrays are kept, old labels are dropped.
        engine: See :mod:`mlcalc.data.engines`.
        output: extxyz to write: energy (eV), forces (eV/Å), ``info["engine"]``, and of molecules dipole (eÅ) and charges (e) where
            the engine gives them. Its journal and the failed
            structures lie beside it (``OUT.xyz.journal``, ``OUT.failed.xyz``).
        jobs: Worker processes; each makes its calculator once and computes on one thread.
        subtract: Write the labels of the file minus those of the engine, and ``info["correction_to"]``: what a network learns
            that corrects the engine (Ramakrishnan et al., J. Chem. Theory Comput. 11, 2087 (2015)).

    Raises:
        InputError: No or unreadable structures, an unknown engine, jobs < 1, or an output that belongs to another
            engine or input; structures without labels to subtract from.
    """
    structures, output = Path(structures), Path(output)
    if jobs < 1:
        raise InputError(f"jobs = {jobs}: expected at least 1")
    frames = read_atoms(structures)
    wanted = _own_labels(frames, structures) if subtract else None
    _strip(frames, structures, "labels")
    calculator = make_calculator(engine)  # refuses an engine that cannot work before anything is written
    states = [
        set_state(engine, calculator, atoms, f"{structures}: structure {k}") for k, atoms in enumerate(frames, start=1)
    ]
    discard(calculator)
    keys = [structure_key(atoms) for atoms in frames]
    with open_journal(output, engine, set(keys)) as (journal, records):
        todo = [index for index, key in enumerate(keys) if key not in records]
        resumed = len(frames) - len(todo)
        failures = {}
        with _progress(len(frames), resumed) as progress:
            for index, outcome in outcomes(frames, todo, engine, jobs):
                if isinstance(outcome, str):
                    failures[index] = outcome
                else:
                    records[keys[index]] = {"key": keys[index], **outcome}
                    append(journal, records[keys[index]])
                progress.update()
                progress.set_postfix(failed=len(failures), refresh=False)
        done = [
            _labelled(frames[k], states[k], records[key], engine, wanted[k] if wanted else None)
            for k, key in enumerate(keys)
            if key in records
        ]
        if done:
            write_frames(done, output)
        failed_output = _write_failures(frames, failures, output)
    return LabelReport(len(frames), len(done), resumed, dict(sorted(failures.items())), output, failed_output)


def read_structures(path: Path, what: str) -> list[Atoms]:
    """The structures of a file to be labelled, without constraints and without earlier labels and units.

    Charge and multiplicity of earlier results are kept in ``info`` where the structure gives none.

    Args:
        what: Purpose of the structures, such as "labels".

    Raises:
        InputError: Missing, unreadable, empty; no atoms or NaN positions in a structure.
    """
    frames = read_atoms(path)
    _strip(frames, path, what)
    return frames


def _strip(frames: list[Atoms], path: Path, what: str) -> None:
    """Take constraints, earlier labels and units off structures, in place; see read_structures."""
    for number, atoms in enumerate(frames, start=1):
        if len(atoms) == 0 or not np.isfinite(atoms.positions).all():
            raise InputError(f"{path}: structure {number} has no atoms, or a position that is not a finite number")
        if atoms.calc is not None:
            said = electronic_state(atoms, f"{path}: structure {number}").info
            atoms.info |= state_of_results(atoms.calc.results).info | said
            atoms.calc = None
        for key in filter(is_statement, list(atoms.info)):
            del atoms.info[key]
    drop_constraints(frames, path, what)


def structure_key(atoms: Atoms) -> str:
    """SHA-256 of what a label depends on: elements, positions, cell, periodicity; charge and spin where they are given."""
    digest = hashlib.sha256()
    pieces = ((atoms.numbers, "<i8"), (atoms.positions, "<f8"), (atoms.cell.array, "<f8"), (atoms.pbc, "u1"))
    for array, dtype in pieces:
        digest.update(np.ascontiguousarray(array, dtype=dtype).tobytes())
    for name in ("initial_charges", "initial_magmoms"):  # engines also start from the values of the atoms
        if np.any(atoms.arrays.get(name)):
            digest.update(name.encode() + np.ascontiguousarray(atoms.arrays[name], dtype="<f8").tobytes())
    state = electronic_state(atoms)
    digest.update(b"" if is_ground(atoms, state) else repr(state).encode())
    return digest.hexdigest()


def write_frames(frames: list[Atoms], path: Path) -> None:
    """Write extxyz atomically; energies and forces keep every digit that extxyz has."""
    from ase.io import write

    text = io.StringIO()
    write(text, frames, format="extxyz")
    write_atomically(path, text.getvalue().encode())


def _own_labels(frames: list[Atoms], path: Path) -> list[tuple[float, np.ndarray]]:
    """Energy (eV) and forces (eV/Å) that each structure of a file brings; InputError for one without."""
    labels = read_labels(frames, path)
    for number, (atoms, energy) in enumerate(zip(frames, labels.energies, strict=True), start=1):
        if not np.isfinite(energy):
            raise InputError(f"{path}: structure {number} has no energy to subtract from")
        if "correction_to" in atoms.info:
            raise InputError(f"{path}: structure {number} holds corrections already: expected labels in full")
    return list(zip(labels.energies.tolist(), labels.forces, strict=True))


def _labelled(
    atoms: Atoms, state: ElectronicState, record: dict[str, Any], engine: str, wanted: tuple[float, np.ndarray] | None
) -> Atoms:
    """A structure with the labels of the engine, or with what is missing from them to those that are wanted."""
    from ase.calculators.singlepoint import SinglePointCalculator

    labelled, energy, forces = atoms.copy(), record["energy"], np.array(record["forces"])
    labelled.info.pop("correction_to", None)
    labelled.info |= state.info | {"engine": engine}
    if wanted is not None:
        energy, forces = wanted[0] - energy, wanted[1] - forces
        labelled.info |= {"engine": f"correction to {engine}", "correction_to": engine}
    more = {name: np.array(record[name]) for name in KEPT if name in record and wanted is None}
    labelled.calc = SinglePointCalculator(labelled, energy=energy, forces=forces, **more)
    return labelled


def _write_failures(frames: list[Atoms], failures: dict[int, str], output: Path) -> Path | None:
    path = output.with_name(f"{output.stem}.failed.xyz")
    if not failures:
        path.unlink(missing_ok=True)
        return None
    failed = []
    for index, reason in sorted(failures.items()):
        atoms = frames[index].copy()
        atoms.info["reason"] = reason
        failed.append(atoms)
    write_frames(failed, path)
    return path


def _progress(total: int, done: int):  # a tqdm bar; disable=None: off when stderr is not a terminal
    from tqdm import tqdm

    return tqdm(total=total, initial=done, unit="structure", desc="labelling", disable=None, smoothing=0.1)
