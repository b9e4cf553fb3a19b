"""Means of recorded estimators with their errors, and quantities derived from several of them."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from ase import units

from md.bias.settings import is_bias_column
from md.observables.heat_capacity import fluctuation_heat_capacity, scaled_heat_capacity
from md.observables.statistics import Mean, block_average

Series = dict[str, np.ndarray]  # column of properties.csv → (n,) values


class Ensemble(NamedTuple):
    """The parameters of a run in the formulas: number of beads P, number N of moving atoms, T."""

    n_beads: int
    n_atoms: int
    temperature_K: float


class Derived(NamedTuple):
    """A row of the table: function of all series, unit, label, reference, and the required columns."""

    function: Callable[[Series, Ensemble], Mean]
    unit: str
    label: str
    reference: str
    needs: tuple[str, ...]


def _scaled(series: Series, ensemble: Ensemble) -> Mean:
    """C_V = k_B β² (⟨ε²⟩ − ⟨ε⟩² − ⟨ε′⟩)."""
    return scaled_heat_capacity(series["energy_scaled_eV"], series["energy_scaled_slope_eV2"], ensemble.temperature_K)


def _fluctuation(series: Series, ensemble: Ensemble) -> Mean:
    """C_V = k_B [β² (⟨ε_T ε_V⟩ − ⟨ε_T⟩⟨ε_V⟩) + f/2] of primitive and centroid-virial energies; its spread grows with P."""
    v, primitive, virial, spring = (np.asarray(series[name]) for name in _FLUCTUATION)
    internal = 3 * ensemble.n_atoms * (ensemble.n_beads - 1)
    # The primitive estimator contains all moving degrees of freedom: f = 2β(K + S) − 3N(P − 1).
    freedom = 2.0 * float((primitive + spring).mean()) / (units.kB * ensemble.temperature_K) - internal
    return fluctuation_heat_capacity(v + primitive, v + virial, freedom, ensemble.temperature_K)


_FLUCTUATION = ("potential_eV", "kinetic_primitive_eV", "kinetic_virial_eV", "spring_eV")

DERIVED: dict[str, Derived] = {
    "heat_capacity_kB": Derived(
        _scaled, "k_B", "heat capacity, scaled coordinates", "Yamamoto, J. Chem. Phys. 123, 104101 (2005), doi:10.1063/1.2013257",
        ("energy_scaled_eV", "energy_scaled_slope_eV2"),
    ),
    "heat_capacity_fluctuation_kB": Derived(
        _fluctuation, "k_B", "heat capacity, fluctuations", "derived in md/observables/heat_capacity.py", _FLUCTUATION
    ),
}  # fmt: skip


_FEWEST_SAMPLES = 32  # with fewer, blocking cannot estimate the error of a fluctuation


def _known(mean: Mean, n_samples: int, n_atoms: int) -> Mean:
    """The mean of a fluctuation; NaN if there are too few samples: its error is as large as 3N k_B, or unknown."""
    vague = not mean.error < 3.0 * n_atoms and not abs(mean.value) > 3.0 * mean.error
    return Mean(np.nan, np.nan, mean.n_effective) if n_samples < _FEWEST_SAMPLES or vague else mean


def means(series: Series, ensemble: Ensemble) -> dict[str, Mean]:
    """Means of recorded estimators with standard errors by blocking, and the rows of DERIVED that can be computed from them.

    Heat capacities from too few samples are NaN; there are none of a run with a bias or a barostat, with which energies fluctuate.
    """
    found = {name: block_average(values) for name, values in series.items()}
    if "volume_A3" in series or any(map(is_bias_column, series)):
        return found
    for name, row in DERIVED.items():
        if all(column in series for column in row.needs):
            n = len(series[row.needs[0]])
            mean = row.function(series, ensemble) if n else Mean(np.nan, np.nan, 0.0)
            found[name] = _known(mean, n, ensemble.n_atoms)
    return found
