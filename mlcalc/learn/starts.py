"""Where explorations start: at the minimum, and at thermal structures, every other one in another conformer.

Thermal structures are drawn along the normal modes, classically: beads spread out from a start, and about a bead of a quantum
distribution they would spread twice as far. Every other one is then turned about bonds where the molecule allows that. Draws of a
floppy molecule reach too far, and turns crowd atoms: a start is taken only if the network puts it at most f·k_BT above the minimum,
with f vibrations, twice the mean of classical motion. From higher up, molecules react.
"""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
from ase import Atoms, units

from mlcalc.common.errors import InputError
from mlcalc.data.distortions import turn
from mlcalc.data.sampling import sample_normal_modes
from mlcalc.learn.committee import predict
from mlcalc.learn.labels import read_frames
from mlcalc.learn.settings import LearnSettings
from mlcalc.learn.start import Start, sampling_modes

_TRIALS = 20  # for each start


def exploration_starts(settings: LearnSettings, start: Start, model: Path, cold: Path, seed: int) -> list[Atoms]:
    """``settings.starts`` structures, the first of which is the minimum; of a periodic structure frames of the cold start.

    Args:
        model: The network that moves the atoms; cold: Labels of the cold start.
    """
    rng, count = np.random.default_rng(seed), settings.starts - 1
    if start.modes is None:
        moved = [atoms for atoms in read_frames(cold) if "pushed" not in atoms.info["sampling"]]
        return [start.atoms, *(_bare(moved[k]) for k in rng.choice(len(moved), count))]
    limit = len(start.modes.energies) * units.kB * settings.temperature_K
    chosen = [start.atoms]
    for number in range(count):
        trials = [*_trials(settings, start, number % 2 == 0, rng), start.atoms]
        energies = predict([model], trials)[0][0]
        chosen.append(trials[int(np.argmax(energies - energies[-1] <= limit))])  # the first; the minimum is one
    return chosen


def _trials(settings: LearnSettings, start: Start, turned: bool, rng: np.random.Generator) -> Iterator[Atoms]:
    """Thermal structures, turned ones before the others."""
    modes = sampling_modes(start.modes)
    drawn = sample_normal_modes(start.atoms, modes, settings.temperature_K, 1, _TRIALS, rng)
    for atoms in drawn if turned else ():
        with suppress(InputError):  # no bond to turn about
            yield from turn([atoms], rng)
    yield from drawn


def _bare(atoms: Atoms) -> Atoms:
    atoms = atoms.copy()
    atoms.calc = None
    return atoms
