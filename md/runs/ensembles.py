"""Keys of the barostat and of the quantum bath: refused without what they belong to, and so is what does not go together with it.

Settings are config.RunSettings, which call these checks.
"""

from collections.abc import Mapping
from typing import Any

from md.dynamics.settings import QUANTUM_BATH
from mlcalc.common.errors import InputError

BAROSTAT_NAMES = ("none", "isotropic", "orthorhombic")


def check_barostat(settings: Any) -> None:
    """Raise InputError for what needs a barostat without one, and what does not go together with one."""
    if not settings.has_barostat:
        choices = f"leave it out, or set barostat to one of {', '.join(BAROSTAT_NAMES[1:])}"
        _refuse_unused(settings, ("pressure_GPa", "barostat_time_fs"), f"without a barostat: {choices}")
        return
    refused = {
        "a bias": (settings.bias, "its part of the pressure is unknown; leave one out"),
        "heat_capacity = true": (settings.heat_capacity, "its estimator is that of a constant volume; leave one out"),
        f"engine = {settings.engine!r}": (settings.engine, "no virials are taken from engines; leave one out"),
    }
    _refuse_together(f"barostat = {settings.barostat!r}", refused)


def check_quantum_bath(settings: Any) -> None:
    """Raise InputError for keys of the quantum bath without it, and for what does not go together with it."""
    bath = f"thermostat = {QUANTUM_BATH!r}"
    if settings.thermostat != QUANTUM_BATH:
        _refuse_unused(settings, ("bath_segment_fs", "bath_adaptation_ps"), f"belongs to {bath}: leave it out")
        return
    several, two_steps = settings.bead_counts != (1,), settings.integrator == "OBABO"
    refused = {
        f"beads = {settings.beads}": (several, "its noise makes one bead quantum; set beads = 1"),
        f"integrator = {settings.integrator!r}": (two_steps, "it needs one O a step; set BAOAB or BCOCB"),
        "remove_rotation = true": (settings.remove_rotation, "its noise would have another spectrum; set it to false"),
        f"barostat = {settings.barostat!r}": (settings.has_barostat, "the cell would stay classical; leave it out"),
        "pressure = true": (settings.pressure, "its estimator takes centroids for classical; leave it out"),
        "per_atom = true": (settings.per_atom, "its kinetic energies take centroids for classical; leave it out"),
        "a bias": (settings.bias, "free energies need the distribution of a temperature; leave it out"),
        "[[potential]] tables": (settings.potential, "spectra need the same forces at every step; leave them out"),
    }
    _refuse_together(bath, refused)


def _refuse_unused(settings: Any, keys: tuple[str, ...], why: str) -> None:
    """Raise InputError for the first of some keys that differs from its default."""
    for key in keys:
        if getattr(settings, key) != getattr(type(settings), key):
            raise InputError(f"{key} = {getattr(settings, key):g} {why}")


def _refuse_together(what: str, refused: Mapping[str, tuple[object, str]]) -> None:
    """Raise InputError for the first of some keys that is set (text of the key → whether it is, and why not)."""
    for key, (is_set, why) in refused.items():
        if is_set:
            raise InputError(f"{what} with {key}: {why}")
