"""Labels of a stage: journaled one by one, and those that are not to be learnt set apart with their reason."""

from pathlib import Path

import numpy as np
from ase import Atoms
from ase.io import read

from mlcalc.common.errors import InputError
from mlcalc.data.labelling import label_file, write_frames
from mlcalc.data.workers import outcomes


def label_stage(structures: Path, engine: str, jobs: int, max_force_eV_A: float, sound: Atoms | None = None) -> Path:
    """Label the structures of NAME.xyz, once; returns NAME.labels.xyz, those to be learnt.

    Beside it lie all labels (NAME.all.xyz, with their journal) and NAME.quarantine.xyz: structures that the engine could not
    compute, or on which a force exceeds ``max_force_eV_A``, each with ``info["reason"]``.
    NAME.labels.xyz is empty if no structure is left.

    Args:
        sound: A structure that the engine has computed before: where it fails on this one too, the others are not at fault.

    Raises:
        InputError: The engine has stopped working; what it has labelled is kept, and the next call resumes.
    """
    everything, kept, aside = (structures.with_suffix(end) for end in (".all.xyz", ".labels.xyz", ".quarantine.xyz"))
    if kept.is_file():
        return kept
    report = label_file(structures, engine, everything, jobs)
    if report.failures and sound is not None:
        _check_engine(engine, sound, structures)
    labelled = read_frames(everything) if report.labelled else []
    strongest = np.array([np.linalg.norm(atoms.get_forces(apply_constraint=False), axis=1).max() for atoms in labelled])
    good = strongest <= max_force_eV_A
    refused = [atoms for atoms, fine in zip(labelled, good, strict=True) if not fine]
    for atoms, force in zip(refused, strongest[~good], strict=True):
        atoms.info["reason"] = f"a force of {force:.4g} eV/Å, above max_label_force_eV_A = {max_force_eV_A:g}"
    if report.failed_output is not None:
        refused += read_frames(report.failed_output)
    if refused:
        write_frames(refused, aside)
    write_frames([atoms for atoms, fine in zip(labelled, good, strict=True) if fine], kept)
    return kept


def _check_engine(engine: str, sound: Atoms, structures: Path) -> None:
    """Raise InputError if the engine fails on a structure that it has computed before."""
    bare = sound.copy()
    bare.calc = None
    ((_, outcome),) = outcomes([bare], [0], engine, 1)
    if isinstance(outcome, str):
        raise InputError(
            f"{structures}: {engine} has stopped working, it fails on the start of learning too: {outcome}; its labels are kept: "
            "mend it and start the same command again"
        )


def read_frames(path: Path) -> list[Atoms]:
    """The structures of a file; none if it is missing or empty."""
    return list(read(path, ":")) if path.is_file() and path.stat().st_size else []


def count_labels(folder: Path) -> int:
    """Calculations in the journals of a folder, one label a line."""
    lines = (path.read_bytes().count(b"\n") - 1 for path in folder.rglob("*.journal"))
    return sum(max(0, count) for count in lines)


def quarantined(folder: Path) -> dict[str, int]:
    """Reasons for which structures were set apart, and how many of each; numbers in a reason are left out."""
    counts: dict[str, int] = {}
    for path in sorted(folder.rglob("*.quarantine.xyz")):
        for atoms in read_frames(path):
            reason = "a force above the limit" if "max_label_force" in atoms.info["reason"] else atoms.info["reason"]
            counts[reason] = counts.get(reason, 0) + 1
    return counts
