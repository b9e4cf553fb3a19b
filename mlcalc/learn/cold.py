"""The cold start: structures by physics alone, so that the first network cannot fall into holes.

A molecule: finite-P normal modes at the temperature of interest and at twice that, and copies of the former that are scaled, have
atoms pushed out of place (bonds and contacts squeezed and stretched), are turned about bonds or have a molecule of a cluster
shifted. A periodic structure: short dynamics with the engine at both temperatures of exploration, and pushed copies.
"""

from collections.abc import Callable

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator

from mlcalc.common.errors import InputError
from mlcalc.data.distortions import closest_contact, compress, push, shift_molecules, turn
from mlcalc.data.sampling import LangevinSettings, sample_md, sample_normal_modes
from mlcalc.geometry.domain import CLOSEST
from mlcalc.learn.settings import LearnSettings
from mlcalc.learn.start import Start, sampling_modes

_WIDE = 2.0  # of the temperature, for the wider draws
_SCALES, _PUSH_A, _CONTACTS = (0.9, 1.1), (0.05, 0.35), (0.8, 1.8)
_DRAWS = 20  # most trials for each structure whose atoms are too close
# Shares of the structures; what a molecule does not allow goes to the draws at its own temperature.
_SHARES = {"own": 0.45, "wide": 0.2, "scaled": 0.1, "pushed": 0.1, "turned": 0.1, "shifted": 0.05}
_DYNAMICS = LangevinSettings(timestep_fs=0.5, friction_per_fs=0.02, equilibration=100, stride=10)

_Distortion = Callable[[list[Atoms], np.random.Generator], list[Atoms]]
_DISTORTIONS: dict[str, _Distortion] = {
    "scaled": lambda frames, rng: compress(frames, _SCALES, rng),
    "pushed": lambda frames, rng: push(frames, _PUSH_A, rng),
    "turned": turn,
    "shifted": lambda frames, rng: shift_molecules(frames, _CONTACTS, rng),
}


def cold_structures(settings: LearnSettings, start: Start, calculator: Calculator) -> list[Atoms]:
    """``settings.cold_labels`` structures; each says in ``info["sampling"]`` how it was made."""
    rng = np.random.default_rng(settings.seed)
    if start.modes is None:
        return _periodic(settings, start, calculator, rng)
    counts = {kind: int(share * settings.cold_labels) for kind, share in _SHARES.items()}
    frames = []
    for kind, distort in _DISTORTIONS.items():
        try:
            frames += distort(_draws(settings, start, settings.temperature_K, counts[kind], rng), rng)
        except InputError:  # such as no bond to turn about
            continue
    frames += _draws(settings, start, _WIDE * settings.temperature_K, counts["wide"], rng)
    return frames + _draws(settings, start, settings.temperature_K, settings.cold_labels - len(frames), rng)


def _draws(
    settings: LearnSettings, start: Start, temperature_K: float, count: int, rng: np.random.Generator
) -> list[Atoms]:
    """Harmonic draws without those in which atoms are on top of each other, as floppy molecules have them."""
    kept: list[Atoms] = []
    modes = sampling_modes(start.modes)
    for _ in range(_DRAWS):
        if len(kept) < count:
            drawn = sample_normal_modes(start.atoms, modes, temperature_K, settings.beads, count - len(kept), rng)
            kept += [atoms for atoms in drawn if closest_contact(atoms).relative > CLOSEST]
    if len(kept) < count:
        raise InputError(
            f"at {temperature_K:g} K nearly all harmonic draws bring atoms on top of each other: the molecule is too floppy for "
            "them; start from another minimum, or at a lower temperature_K"
        )
    return kept


def _periodic(settings: LearnSettings, start: Start, calculator: Calculator, rng: np.random.Generator) -> list[Atoms]:
    n_pushed = settings.cold_labels // 4
    moving = settings.cold_labels - n_pushed
    frames = []
    for k, temperature in enumerate(settings.temperatures):
        count = moving // len(settings.temperatures) + (k < moving % len(settings.temperatures))
        frames += sample_md(start.atoms, calculator, temperature, count, rng, settings=_DYNAMICS)
    pushed = push([frames[k] for k in rng.integers(len(frames), size=n_pushed)], _PUSH_A, rng)
    for atoms in frames:
        atoms.calc = None  # all labels come from one journal
    return frames + pushed
