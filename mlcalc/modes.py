"""The ``modes`` command: a molecule relaxed with a model, its vibrations, and the beads that path integrals need."""

import numpy as np
from ase import Atoms, units
from ase.calculators.calculator import Calculator

from mlcalc.calculator import NetworkCalculator
from mlcalc.common.errors import InputError
from mlcalc.common.json_text import to_json
from mlcalc.common.tables import aligned
from mlcalc.data.relaxation import relax
from mlcalc.geometry.domain import set_bead_masses
from mlcalc.model_file import Model
from mlcalc.readouts import available
from mlcalc.vibrations import NormalModes, heat_capacity, normal_modes, potential_of, vibrational_energy

# Integrated absorption of a vibration per |∂p/∂q|² in e²/u: N_A/(12 ε₀c²), in km/mol.
KM_PER_MOL = units._Nav * units._e**2 / units._amu / (12.0 * units._eps0 * units._c**2) / 1e3
_STEP_A = 0.005  # largest displacement of an atom along a mode
MAX_FORCE = 1e-4  # eV/Å left at the minimum; moves distances by under 1e-4 Å even along C20's softest mode
_PER_LINE = 6  # frequencies


def relaxed_modes(structure: Atoms, model: Model) -> NormalModes:
    """Relax a molecule with a model and return the normal modes of the minimum (``.atoms`` is the relaxed structure).

    Args:
        structure: Starting point, N atoms, positions in Å; its masses are used, or those of the model's beads if it has
            none; constraints are ignored.

    Raises:
        InputError: As modes_by.
    """
    atoms = structure.copy()
    set_bead_masses(atoms, model.domain)
    return modes_by(NetworkCalculator(model, precision="float64"), atoms)


def modes_by(calculator: Calculator, structure: Atoms) -> NormalModes:
    """The same with any ASE calculator.

    Raises:
        InputError: The calculator cannot treat the structure, the relaxation does not converge, or it ends in a saddle point.
    """
    atoms = relax(structure, calculator, MAX_FORCE)
    modes = normal_modes(atoms, potential_of(atoms, calculator))
    if modes.energies[0] <= 0:
        raise InputError(f"no minimum found: the relaxed structure has a mode of {modes.wavenumbers[0]:.1f} cm⁻¹")
    return modes


def infrared_intensities(modes: NormalModes, model: Model) -> np.ndarray | None:
    """Integrated absorption of each mode, (M,) km/mol, from derivatives of the model's dipole; None for a model without one.

    Source: Neugebauer, Reiher, Kind, Hess, J. Comput. Chem. 23, 895 (2002), doi:10.1002/jcc.10089.
    """
    if "dipole" not in available(model, periodic=False):
        return None
    from mlcalc.torch_readouts import Readouts

    along = modes.displacements
    steps = _STEP_A / np.linalg.norm(along, axis=2).max(axis=1)
    shifts = steps[:, None, None] * along
    readouts, atoms = Readouts(model, "float64"), modes.atoms
    above, below = (readouts(atoms.numbers, atoms.positions + sign * shifts)["dipoles"] for sign in (1.0, -1.0))
    return KM_PER_MOL * np.square((above - below) / (2.0 * steps[:, None])).sum(axis=1)


def bead_table(modes: NormalModes, temperature_K: float, beads: list[int]) -> list[dict]:
    """Harmonic energy (eV), its relative error and heat capacity (k_B) at finite P; the last row is the quantum limit."""
    limit = vibrational_energy(modes.energies, temperature_K, None)
    rows = []
    for p in (*beads, None):
        energy = vibrational_energy(modes.energies, temperature_K, p)
        capacity = heat_capacity(modes.energies, temperature_K, p) / units.kB
        rows.append(
            {"beads": p, "energy_eV": energy, "energy_error": energy / limit - 1.0, "heat_capacity_kB": capacity}
        )
    return rows


def needed_beads(modes: NormalModes, temperature_K: float) -> float:
    """βħω_max: with fewer beads than this a ring polymer does not resolve the stiffest vibration."""
    return float(modes.energies.max() / (units.kB * temperature_K))


def as_text(modes: NormalModes, temperature_K: float, beads: list[int], intensities: np.ndarray | None = None) -> str:
    """Frequencies, with infrared intensities (M,) km/mol if there are any, zero-point energy and the table of bead numbers."""
    found = [f"{w:.1f}" for w in modes.wavenumbers]
    lines = ["frequencies / cm⁻¹"]
    if intensities is not None:
        found = [f"{text} ({value:.1f})" for text, value in zip(found, intensities, strict=True)]
        lines = ["frequencies / cm⁻¹ (infrared intensities / km mol⁻¹)"]
    width = max(map(len, found))
    for k in range(0, len(found), _PER_LINE):
        lines.append("  " + "  ".join(text.rjust(width) for text in found[k : k + _PER_LINE]))
    zero = modes.zero_point_energy
    lines.append(f"zero-point energy {zero:.4f} eV = {zero / (units.kcal / units.mol):.2f} kcal/mol")
    lines.append(f"\nharmonic vibrations at {temperature_K:g} K for a ring polymer of P beads")
    rows = [
        ["∞" if row["beads"] is None else str(row["beads"]), f"{row['energy_eV']:.4f}",
         f"{row['energy_error']:+.2%}", f"{row['heat_capacity_kB']:.2f}"]
        for row in bead_table(modes, temperature_K, beads)
    ]  # fmt: skip
    lines.append(aligned(["P", "energy / eV", "error", "heat capacity / k_B"], rows))
    lines.append(f"βħω of the stiffest mode: {needed_beads(modes, temperature_K):.1f}; P should be larger.")
    return "\n".join(lines)


def as_json(modes: NormalModes, temperature_K: float, beads: list[int], intensities: np.ndarray | None = None) -> str:
    """The same as JSON; ``beads`` null is the quantum limit."""
    return to_json(
        {
            "wavenumbers_per_cm": modes.wavenumbers.tolist(), "zero_point_energy_eV": modes.zero_point_energy,
            "temperature_K": temperature_K, "beta_hbar_omega_max": needed_beads(modes, temperature_K),
            "beads": bead_table(modes, temperature_K, beads),
            **({} if intensities is None else {"infrared_intensities_km_mol": intensities.tolist()}),
        },
        indent=1,
    )  # fmt: skip
