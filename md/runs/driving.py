"""The potentials of a run: what moves its atoms, and those of other models at the same atoms."""

from typing import Any

import numpy as np
from ase import Atoms

from md.components.split import Component, SplitPotential
from md.dynamics.clamped import Clamped, ClampedPotential
from md.potentials import (
    FROM_PYTHON,
    Model,
    Potential,
    engine_potential,
    make_potential,
    own_potential,
    pair_limits,
    physical_limits,
)
from md.runs.config import RunSettings
from md.runs.input_files import Inputs
from mlcalc.common.errors import InputError


def potentials_of(settings: RunSettings, atoms: Atoms, models: list[Model]) -> list:
    """Potentials of the moving atoms for RunSettings, one per model."""
    serve = settings.precision, settings.backend, settings.threads or None
    return [_of_moving(make_potential(model, atoms, *serve), atoms) for model in models]


def driving_potential(settings: RunSettings, inputs: Inputs, own: Any) -> Any:
    """The potential that moves the atoms: of the model, of the engine, or one from Python, and slow components, if there are any.

    Raises:
        InputError: The structure does not fit it; an engine that cannot be used; one from Python without its name or the reverse.
    """
    fast = _fast_potential(settings, inputs.atoms, inputs.model, own)
    if not settings.potential:
        return fast
    atoms, slow = inputs.atoms, []
    for part, model in zip(settings.potential, inputs.slow, strict=True):
        if model is None:
            potential = _of_moving(engine_potential(part.engine, atoms, settings.threads, settings.structure), atoms)
            limits = physical_limits(np.unique(atoms.numbers))
        else:
            (potential,), limits = (
                potentials_of(settings, atoms, [model]),
                pair_limits(model.domain, model.config.elements),
            )
        slow.append(Component(potential, part.weight, part.beads, part.every_steps, limits))
    return SplitPotential(fast, slow)


def _fast_potential(settings: RunSettings, atoms: Atoms, model: Model | None, own: Any) -> Potential:
    """What acts at every step; InputError as driving_potential."""
    python = settings.engine.startswith(FROM_PYTHON)
    if python != (own is not None):
        raise InputError(
            f"engine = {settings.engine!r}: it comes from Python: md.runs.start.run(settings, potential=…)" if python
            else f"potential = … with engine = {settings.engine!r}: expected settings with engine = 'python:NAME', a name that "
            "tells this potential from others where a run is resumed"
        )  # fmt: skip
    if model is not None:
        return potentials_of(settings, atoms, [model])[0]
    if settings.engine == FROM_PYTHON:
        raise InputError(f"engine = {settings.engine!r}: expected python:NAME")
    if python:
        return _of_moving(own_potential(own, atoms, settings.structure), atoms)
    return _of_moving(engine_potential(settings.engine, atoms, settings.threads, settings.structure), atoms)


def _of_moving(potential: Any, atoms: Atoms) -> Any:
    clamped = Clamped.of(atoms)
    return ClampedPotential(potential, clamped) if clamped.mask.any() else potential
