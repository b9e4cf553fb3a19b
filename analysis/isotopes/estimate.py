"""Isotope effects of runs: by scaled coordinates, by integration over masses, harmonic, and what an isotope prefers."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from analysis.harmonic import reference_modes
from analysis.isotopes.harmonic import Reference
from analysis.isotopes.isotope_runs import Masses, own_potential, read_masses
from analysis.isotopes.masses import Integral, integrate
from analysis.isotopes.scaled import Weights, scaled_weights
from analysis.isotopes.sites import Site, mass_of, read_sites
from analysis.runs.run import Run
from md.observables.statistics import Mean, block_average
from md.potentials import end_workers
from md.runs.config import RunSettings
from mlcalc.common.errors import InputError, note
from mlcalc.structures.xyz_text import ISOTOPES

SCALED, INTEGRATED = "scaled", "integration"


class Wanted(NamedTuple):
    """What to compute.

    Attributes:
        atoms: Sites as sites.read_sites parses them; None with runs of several masses, whose atoms are those that differ.
        mass: m′ in u; None for deuterium in place of hydrogen, or with runs of several masses.
        frames: The most frames of the runs of one mass that are evaluated, evenly spaced.
        engine: The engine of the runs, for one that runs code.
    """

    atoms: str | None = None
    mass: float | None = None
    frames: int = 2000
    engine: str | None = None


class Effect(NamedTuple):
    """ln β of a site.

    Attributes:
        run: The run, of several the first; site: what is replaced.
        masses: m and m′ > m in u; method: SCALED or INTEGRATED.
        sampled: u, the mass in the run of SCALED: m, or m′ for a run of the heavier mass.
        log_ratio: ln β from m to m′.
        harmonic: The same of the vibrations, at P and for P → ∞; None without a reference.
        weights: Of SCALED; integral: of INTEGRATED.
        curve, missed: The integrand of the harmonic vibrations at the masses of INTEGRATED, and by how much the same quadrature
            misses their ln β.
    """

    run: Run
    site: Site
    masses: tuple[float, float]
    method: str
    sampled: float | None
    log_ratio: Mean
    harmonic: tuple[float, float] | None
    weights: Weights | None = None
    integral: Integral | None = None
    curve: np.ndarray | None = None
    missed: float | None = None


class Preference(NamedTuple):
    """ln α = ln β of a site less ln β of another, with its standard error; harmonic as in Effect."""

    effect: Effect
    other: Effect
    log_ratio: Mean
    harmonic: tuple[float, float] | None


def effects_of(
    folders: list[Path], discard: float, wanted: Wanted, potential: Callable | None = None, show=lambda done: None
) -> list[Effect]:
    """Isotope effects from runs of one molecule: of sites from one mass, or of the atoms whose masses differ.

    Args:
        potential: For runs with a potential from Python: that potential.
        show: Called with a number of finished frames.

    Raises:
        InputError: Unusable runs (isotope_runs.read_masses), sites or masses; weights worth too few frames.
    """
    if wanted.frames < 1:
        raise InputError(f"--frames {wanted.frames}: expected at least 1")
    found = read_masses(folders, discard)
    reference = _reference(found.runs[0])
    if found.site is None:
        if wanted.atoms is None:
            raise InputError(
                f"{found.runs[0]}: expected --atoms, or runs of several masses: the atoms are then those that differ"
            )
        sites = read_sites(wanted.atoms, found.runs[0].structure)
        new = _new_mass(wanted.mass, sites, found.runs[0])
        return _scaled(found.runs[0], found.settings[0], sites, new, discard, wanted, potential, show, reference)
    if wanted.atoms is not None or wanted.mass is not None:
        raise InputError("--atoms and --mass belong to runs of one mass; runs of several masses set both")
    effects = [_integrated(found, found.site, discard, reference)]
    for run, settings, new in (
        (found.runs[0], found.settings[0], found.masses[-1]),
        (found.runs[-1], found.settings[-1], found.masses[0]),
    ):
        effects += _scaled(run, settings, [found.site], float(new), discard, wanted, potential, show, reference)
    return effects


def preferences(effects: list[Effect]) -> list[Preference]:
    """Of every site against the last one with the same masses, by the same method and from the same mass."""
    groups: dict[tuple, list[Effect]] = {}
    for effect in effects:
        light, heavy = sorted(effect.masses)
        groups.setdefault((effect.method, effect.sampled == heavy, round(light, 3), round(heavy, 3)), []).append(effect)
    return [_preference(effect, group[-1]) for group in groups.values() for effect in group[:-1]]


def check_exchange(effects: list[Effect], others: list[Effect]) -> None:
    """Raise InputError unless the effects of two molecules are of one ensemble, and have masses in common."""
    one, other = effects[0].run, others[0].run
    for what, ours, theirs in (
        ("temperature_K", one.temperature_K, other.temperature_K),
        ("beads", one.n_beads, other.n_beads),
    ):
        if ours != theirs:
            raise InputError(f"--against {other}: {what} = {theirs}, but {ours} in {one}: expected the same")
    shared = [{(e.method, *np.round(e.masses, 3).tolist()) for e in group} for group in (effects, others)]
    if not shared[0] & shared[1]:
        raise InputError(
            f"--against {other}: no two sites with the same masses by the same method: {sorted(shared[1])} there, "
            f"{sorted(shared[0])} in {one}"
        )


def _preference(effect: Effect, other: Effect) -> Preference:
    value = effect.log_ratio.value - other.log_ratio.value
    ours, theirs = effect.weights, other.weights
    if effect.run.folders == other.run.folders and ours is not None and theirs is not None:  # of the same frames
        difference = block_average(ours.relative - theirs.relative)._replace(value=value)
    else:
        error = float(np.hypot(effect.log_ratio.error, other.log_ratio.error))
        difference = Mean(value, error, min(effect.log_ratio.n_effective, other.log_ratio.n_effective))
    harmonic = None
    if effect.harmonic and other.harmonic:
        harmonic = (effect.harmonic[0] - other.harmonic[0], effect.harmonic[1] - other.harmonic[1])
    return Preference(effect, other, difference, harmonic)


def _scaled(
    run: Run, settings: RunSettings, sites: list[Site], new: float, discard: float, wanted: Wanted,
    potential: Callable | None, show: Callable, reference: Reference | None,
) -> list[Effect]:  # fmt: skip
    """Effects of sites from the frames of one run; ln β is always towards the heavier mass."""
    kept = run.kept(discard)
    frames = kept[:: -(-len(kept) // wanted.frames)]
    own = own_potential(run, settings, wanted.engine, potential)
    try:
        weights = scaled_weights(run, frames, sites, new, own, show)
    finally:
        end_workers(own)
    effects = []
    for site, weight in zip(sites, weights, strict=True):
        mass, mean = mass_of(site, run.structure), weight.log_mean
        if new < mass:
            mean = mean._replace(value=-mean.value)
        light, heavy = sorted((mass, new))
        harmonic = reference.log_ratios(site, light, heavy) if reference else None
        effects.append(Effect(run, site, (light, heavy), SCALED, mass, mean, harmonic, weight))
    return effects


def _integrated(found: Masses, site: Site, discard: float, reference: Reference | None) -> Effect:
    integral = integrate(found.runs, found.masses, site, discard, found.settings[0].remove_com)
    light, heavy = float(found.masses[0]), float(found.masses[-1])
    harmonic = missed = curve = None
    if reference:
        harmonic = reference.log_ratios(site, light, heavy)
        missed = reference.quadrature_error(site, found.masses)
        curve = reference.integrand(site, found.masses)
    return Effect(
        found.runs[0], site, (light, heavy), INTEGRATED, None, integral.log_ratio, harmonic,
        integral=integral, missed=missed, curve=curve,
    )  # fmt: skip


def _reference(run: Run) -> Reference | None:
    try:
        return Reference(reference_modes(run.structure, run.model), run.temperature_K, run.n_beads)
    except InputError as error:
        note(f"no harmonic value: {error}")
        return None


def _new_mass(mass: float | None, sites: list[Site], run: Run) -> float:
    """m′ of --mass, or deuterium; InputError for sites that have it, or no hydrogen and no mass."""
    if mass is None:
        if any(site.symbol != "H" for site in sites):
            raise InputError(
                f"--atoms: {', '.join(map(str, sites))}: without --mass hydrogen becomes deuterium: expected it"
            )
        mass = ISOTOPES["D"]
    if not 0.1 <= mass <= 1000.0:
        raise InputError(f"--mass {mass:g}: expected 0.1 to 1000 u")
    for site in sites:
        if abs(mass_of(site, run.structure) - mass) < 1e-3:
            raise InputError(f"--mass {mass:g}: atoms {site} of {run} have it already")
    return mass
