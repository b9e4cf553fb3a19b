"""The ``isotopes`` command: runs in; table, figure and numbers out."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib
import numpy as np
from ase import units
from matplotlib.figure import Figure

from analysis.figures import OKABE_ITO, STYLE, write_beside
from analysis.isotopes.estimate import Effect, Preference, Wanted, check_exchange, effects_of, preferences
from mlcalc.common.errors import InputError
from mlcalc.common.json_text import to_json
from mlcalc.common.tables import aligned, with_error

_FEW_EFFECTIVE, _SMALL_SHARE = 100, 0.05
_HEAVY = 2.0  # times as heavy: a stiff vibration then gives weights without a finite variance (scaled.py)


class Analysed(NamedTuple):
    """Isotope effects of one or two molecules, and what the heavier isotope prefers among them."""

    effects: list[Effect]
    preferences: list[Preference]


def analyse(
    folders: list[Path], discard: float, wanted: Wanted, against: list[Path] | None = None, against_atoms: str | None = None,
    potential: Callable | None = None, show=lambda done: None,
) -> Analysed:  # fmt: skip
    """Isotope effects of run folders without the first share ``discard`` of their frames.

    Args:
        against, against_atoms: Runs of another molecule and its sites, or further runs of the same one.
        potential: For runs with a potential from Python (``engine = "python:NAME"``): that potential.
        show: Called with a number of finished frames.

    Raises:
        InputError: As estimate.effects_of.
    """
    effects = effects_of(folders, discard, wanted, potential, show)
    if against:
        others = effects_of(against, discard, wanted._replace(atoms=against_atoms), potential, show)
        check_exchange(effects, others)
        effects = effects + others
    elif against_atoms is not None:
        raise InputError("--against-atoms belongs to --against")
    return Analysed(effects, preferences(effects))


def as_text(analysed: Analysed) -> str:
    """Table of ln β and of ln α, as printed by the command."""
    effects = analysed.effects
    first = effects[0].run
    header = ["atoms", "u", "from", "ln β", "harmonic", "P → ∞", "−k_BT ln β / meV", "frames", "worth"]
    rows = [_row(effect) for effect in effects]
    lines = [aligned(header, rows, left=3)]
    if analysed.preferences:
        rows = [
            [str(one.effect.site), str(one.other.site), _source(one.effect), with_error(*one.log_ratio[:2])]
            + _numbers(one.harmonic)
            for one in analysed.preferences
        ]
        lines.append(aligned(["heavy isotope on", "rather than on", "from", "ln α", "harmonic", "P → ∞"], rows, left=3))
    lines += [
        f"{first.temperature_K:g} K, P = {first.n_beads}; ±: one standard error.",
        "β: partition function of the heavier isotope over that of the lighter, over the same ratio of classical nuclei; α = β/β′.",
        "scaled: rings of a run, scaled to the other mass and weighted; worth: how many equal weights theirs are worth (Kish).",
        "integration: of the kinetic energy over the mass, of several runs.",
        "harmonic: the same model with its energy quadratic about the minimum, at P and in the quantum limit.",
    ]
    return "\n".join(lines + [f"warning: {text}" for text in warnings(effects)])


def _row(effect: Effect) -> list[str]:
    thermal = 1e3 * units.kB * effect.run.temperature_K
    mean, weights = effect.log_ratio, effect.weights
    counts = ["–", "–"]
    if weights is not None:
        counts = [str(weights.logarithms.shape[1]), f"{weights.n_effective:.0f}"]
    return [
        str(effect.site), f"{effect.masses[0]:.3f} → {effect.masses[1]:.3f}", _source(effect), with_error(*mean[:2]),
        *_numbers(effect.harmonic), with_error(-thermal * mean.value, thermal * mean.error), *counts,
    ]  # fmt: skip


def _source(effect: Effect) -> str:
    if effect.integral is not None:
        return f"integration, {len(effect.integral.masses)} runs"
    return f"scaled, run of {effect.sampled:.3f} u"


def _numbers(harmonic: tuple[float, float] | None) -> list[str]:
    return ["–", "–"] if harmonic is None else [f"{value:.4f}" for value in harmonic]


def warnings(effects: list[Effect]) -> list[str]:
    """What makes a value doubtful: few effective frames, a step in mass that is too large, few masses."""
    found = []
    for effect in effects:
        name, weights = f"{effect.site} ({_source(effect)})", effect.weights
        if weights is not None:
            n = weights.logarithms.shape[1]
            if weights.n_effective < max(_FEW_EFFECTIVE, _SMALL_SHARE * n):
                found.append(
                    f"{name}: the weights of {n} frames are worth {weights.n_effective:.0f}: few frames decide; the error may be "
                    "too small and the value off in the same direction"
                )
            light, heavy = effect.masses
            if effect.sampled == light and heavy > _HEAVY * light:
                found.append(
                    f"{name}: {heavy / light:.3g} times as heavy: the weights of stiff vibrations may have no finite variance; "
                    "use a run of the heavier mass, or runs of several masses"
                )
        if effect.missed is not None and abs(effect.missed) > max(0.5 * effect.log_ratio.error, 1e-4):
            found.append(
                f"{name}: of harmonic vibrations an integral through these masses is off by {effect.missed:+.3f}: add a run of a "
                "mass between"
            )
    return found


def as_json(analysed: Analysed) -> str:
    """The numbers as JSON; keys carry their unit."""
    return to_json(
        {
            "temperature_K": analysed.effects[0].run.temperature_K, "beads": analysed.effects[0].run.n_beads,
            "effects": [_as_dict(effect) for effect in analysed.effects],
            "preferences": [
                {
                    "atoms": str(one.effect.site), "other": str(one.other.site), "method": one.effect.method,
                    "ln_alpha": one.log_ratio._asdict(), "harmonic": _pair(one.harmonic),
                }
                for one in analysed.preferences
            ],
            "warnings": warnings(analysed.effects),
        },
        indent=1,
    )  # fmt: skip


def _as_dict(effect: Effect) -> dict:
    found: dict[str, Any] = {
        "folders": [str(folder) for folder in effect.run.folders], "atoms": str(effect.site), "masses_u": list(effect.masses),
        "method": effect.method, "ln_beta": effect.log_ratio._asdict(), "harmonic": _pair(effect.harmonic),
    }  # fmt: skip
    if effect.weights is not None:
        found |= {
            "sampled_u": effect.sampled, "frames": effect.weights.logarithms.shape[1],
            "effective_frames": effect.weights.n_effective,
        }  # fmt: skip
    if effect.integral is not None:
        found |= {
            "integral_masses_u": effect.integral.masses.tolist(),
            "integrand_sqrt_u": [mean._asdict() for mean in effect.integral.integrand],
            "integrand_harmonic_sqrt_u": None if effect.curve is None else effect.curve.tolist(),
            "quadrature_error_harmonic": effect.missed,
        }
    return found


def _pair(harmonic: tuple[float, float] | None) -> dict | None:
    return None if harmonic is None else {"at_P": harmonic[0], "quantum_limit": harmonic[1]}


def write_files(analysed: Analysed, figure_path: Path) -> list[Path]:
    """Write the table (TXT), the figure (PNG, SVG) and the numbers (JSON) beside each other; returns their paths."""
    return write_beside(figure_path, _figure(analysed), as_text(analysed), as_json(analysed))


def _figure(analysed: Analysed) -> Figure:
    """ln β with error bars beside the harmonic values; ln α, and the integrands over mass, in panels of their own."""
    effects = analysed.effects
    integrals = [effect for effect in effects if effect.integral is not None]
    n_panels = 1 + bool(analysed.preferences) + bool(integrals)
    with matplotlib.rc_context(STYLE):
        figure = Figure(
            figsize=(0.6 + 3.4 * n_panels, 1.5 + 0.3 * len(effects) + bool(integrals)), layout="constrained"
        )
        panels = list(figure.subplots(1, n_panels, squeeze=False)[0])
        names = [f"{effect.site}, {_source(effect)}" for effect in effects]
        _bars(panels.pop(0), names, effects, "ln β")
        if analysed.preferences:
            names = [f"{one.effect.site} : {one.other.site}" for one in analysed.preferences]
            _bars(panels.pop(0), names, analysed.preferences, "ln α")
        if integrals:
            _integrands(panels.pop(0), integrals)
        figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure


def _bars(axes, names: list[str], values: Sequence[Effect | Preference], label: str) -> None:
    places = np.arange(len(names))[::-1]
    for column, (style, text) in enumerate((("|", "harmonic, P of the run"), ("x", "harmonic, P → ∞"))):
        known = [(one.harmonic[column], place) for one, place in zip(values, places, strict=True) if one.harmonic]
        if known:
            axes.plot(*np.transpose(known), style, color=OKABE_ITO[1], ms=12 if style == "|" else 5, label=text)
    axes.errorbar(
        [one.log_ratio.value for one in values], places, xerr=[one.log_ratio.error for one in values], fmt="o", ms=4,
        capsize=2, color=OKABE_ITO[0], label="ring polymers, ±1 standard error",
    )  # fmt: skip
    axes.set_yticks(places, names)
    axes.set(xlabel=label, ylim=(-0.7, len(names) - 0.3))


def _integrands(axes, integrals: list[Effect]) -> None:
    for number, effect in enumerate(integrals):
        assert effect.integral is not None
        g = 1.0 / np.sqrt(effect.integral.masses)
        means = effect.integral.integrand
        if effect.curve is not None:
            axes.plot(g, effect.curve, "|", ms=12, color=OKABE_ITO[1])
        axes.errorbar(
            g, [mean.value for mean in means], [mean.error for mean in means], fmt="o", ms=4, capsize=2,
            color=OKABE_ITO[(0, 2, 3, 4, 5, 6)[number % 6]],
        )  # fmt: skip
    axes.set(xlabel="g = μ$^{-1/2}$ / u$^{-1/2}$", ylabel="d ln β / d(−g) / u$^{1/2}$")
