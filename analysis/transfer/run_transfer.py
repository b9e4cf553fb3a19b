"""Proton transfer in runs side by side: its free energy, its convergence, and the differences between runs."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase import units

from analysis.distances.pair_distances import KINDS, N_BLOCKS, Histogram, Moments, pair_moments
from analysis.distances.slow_motion import careful_mean
from analysis.runs.run import Run, model_content, pool
from analysis.runs.run_files import check_kept, check_same_atoms, first_kept
from analysis.runs.universe import bead_universe, open_run
from analysis.structure.bond_names import pair_name
from analysis.transfer.coordinate import ProtonTransfer
from analysis.transfer.free_energy import Landscape, changes_of_side, landscape, shares_of, symmetrised
from analysis.transfer.site import Site, find_site, isotope, symmetric
from md.observables.statistics import Mean
from md.runs.config import NOT_CANONICAL

_FEW_TRANSFERS = 10
_APART_BIN_A, _APART_MOST_A = 0.02, 6.0
_UNEQUAL = 4.0  # standard errors between the two sides of a symmetric molecule


@dataclass(frozen=True)
class RunTransfer:
    """One run's part of the report; kinds are "beads" and "centroid".

    Attributes:
        run: The run.
        label: Beads and isotope, as in tables and legends.
        site: Donor, proton, acceptor.
        frames: Frames used, after those discarded.
        symmetric: Whether ``used`` holds distributions averaged with their mirror image.
        sampled: Kind → distribution as sampled.
        used: Kind → distribution of which the barrier is reported.
        apart: Kind → mean and standard deviation of the distance of donor and acceptor, Å.
        apart_density: Its distribution in the beads.
        acceptor_share: Share of beads closer to the acceptor.
        transfers: Number of times that the centroid changed sides.
    """

    run: Run
    label: str
    site: Site
    frames: int
    symmetric: bool
    sampled: dict[str, Landscape]
    used: dict[str, Landscape]
    apart: dict[str, Moments]
    apart_density: Histogram
    acceptor_share: Mean
    transfers: int

    @property
    def kinds(self) -> tuple[str, ...]:
        """Kinds to report: one bead is its own centroid."""
        return KINDS if self.run.n_beads > 1 else KINDS[:1]

    @property
    def isotope(self) -> str:
        """Name of the nucleus that moves."""
        return isotope(float(self.run.structure.get_masses()[self.site.proton]))

    @property
    def warnings(self) -> list[str]:
        """Sentences on the ensemble, few transfers and unequal sides."""
        lines = []
        if self.run.thermostat in NOT_CANONICAL:
            lines.append(
                f"thermostat {self.run.thermostat}: the distribution need not be that of {self.run.temperature_K:g} K, which "
                "free energies assume"
            )
        if not self.transfers:
            lines.append("the proton never changed sides: barriers are lower bounds")
        elif self.transfers < _FEW_TRANSFERS:
            lines.append(f"the proton changed sides only {self.transfers} times: errors are uncertain")
        share = self.acceptor_share
        if self.symmetric and self.transfers and abs(share.value - 0.5) > _UNEQUAL * share.error:
            lines.append(
                "the two sides, equal by symmetry, differ by more than four standard errors: the run is too short"
            )
        return lines


def ends_name(item: RunTransfer) -> str:
    """``O3···O5``, donor and acceptor."""
    symbols = item.run.structure.get_chemical_symbols()
    return "···".join(f"{symbols[atom]}{atom}" for atom in sorted((item.site.donor, item.site.acceptor)))


def coordinate_name(item: RunTransfer) -> str:
    """``δ = r(O5–H11) − r(O3–H11)``."""
    symbols, (donor, proton, acceptor) = item.run.structure.get_chemical_symbols(), item.site
    held, offered = (pair_name(symbols, (end, proton)) for end in (donor, acceptor))
    return f"δ = r({held}) − r({offered})"


def analyse(
    folders: list[Path], discard: float, pooled: bool = False, symmetry: str = "auto",
    choose: Callable[[Run], Site] = find_site,
) -> list[RunTransfer]:  # fmt: skip
    """Analyse runs of one molecule, sorted by decreasing number of beads and then increasing mass of the proton.

    Args:
        folders: Run folders.
        discard: Share of the frames left out at the start, in [0, 1).
        pooled: Combine runs of the same kind (run.pool).
        symmetry: "auto" averages distributions with their mirror image where this is exact (site.symmetric); "yes", "no".
        choose: Function from the first run to donor, proton and acceptor.

    Raises:
        InputError: Any error of open_run, of ``choose`` and of ProtonTransfer; different atoms; fewer than 20 frames left.
    """
    runs = [open_run(folder) for folder in folders]
    for run in runs:
        check_same_atoms(run, runs[0])
        check_kept(run, discard, N_BLOCKS)
    site = choose(runs[0])
    runs = sorted(runs, key=lambda run: (-run.n_beads, run.structure.get_masses()[site.proton]))
    runs = pool(runs) if pooled else runs
    return [_analyse(run, site, discard, label, symmetry) for run, label in zip(runs, _labels(runs, site), strict=True)]


def _labels(runs: list[Run], site: Site) -> list[str]:
    """Beads, isotope, and where runs differ in it or would have the same label, temperature and folder."""
    several = len({run.temperature_K for run in runs}) > 1
    labels = []
    for run in runs:
        beads = f"P = {run.n_beads}" if run.n_beads > 1 else "classical"
        label = f"{beads}, {isotope(float(run.structure.get_masses()[site.proton]))}"
        labels.append(label + (f", {run.temperature_K:g} K" if several else ""))
    return [
        f"{label}, {run.folders[0].name}" if labels.count(label) > 1 else label
        for run, label in zip(runs, labels, strict=True)
    ]


def _analyse(run: Run, site: Site, discard: float, label: str, symmetry: str) -> RunTransfer:
    found = ProtonTransfer(bead_universe(run), site, run.structure).run(frames=run.kept(discard)).results
    mirrored = symmetric(run.structure, site) if symmetry == "auto" else symmetry == "yes"
    columns = dict(zip(KINDS, (slice(None, -1), slice(-1, None)), strict=True))
    thermal = units.kB * run.temperature_K
    shares = {kind: shares_of(found.delta[:, which]) for kind, which in columns.items()}
    well = landscape(shares["centroid"], thermal, 1).well
    pieces = np.split(found.delta[:, -1], _ends(run, discard)[:-1])
    transfers = sum(changes_of_side(piece, well) for piece in pieces)
    sampled = {kind: landscape(table, thermal, transfers) for kind, table in shares.items()}
    used = sampled
    if mirrored:
        used = {kind: landscape(symmetrised(table), thermal, transfers) for kind, table in shares.items()}
    beads = found.delta[:, :-1]
    share = careful_mean((beads > 0).mean(axis=1) + 0.5 * (beads == 0).mean(axis=1))
    return RunTransfer(
        run, label, site, len(found.delta), mirrored, sampled, used,
        {kind: _moments(found.apart[:, which]) for kind, which in columns.items()},
        _density(found.apart[:, :-1]), share, transfers,
    )  # fmt: skip


def _ends(run: Run, discard: float) -> np.ndarray:
    """Ends of the folders' parts in the frames that are kept."""
    return np.cumsum([count - first_kept(count, discard) for count in run.frames])


def _moments(distances: np.ndarray) -> Moments:
    """Mean and standard deviation of distances (n_frames, P) Å."""
    origin = distances.mean()
    excess = distances - origin
    return pair_moments(excess.mean(axis=1, keepdims=True), (excess**2).mean(axis=1, keepdims=True), np.array([origin]))


def _density(distances: np.ndarray) -> Histogram:
    """Distribution of distances (n_frames, P) Å."""
    n_bins = round(_APART_MOST_A / _APART_BIN_A)
    bins = np.minimum((distances / _APART_BIN_A).astype(int), n_bins)  # the last bin holds larger ones
    blocks = np.array_split(bins, N_BLOCKS)
    return Histogram(np.array([np.bincount(block.ravel(), minlength=n_bins + 1) for block in blocks]), _APART_BIN_A)


def differences(analysed: list[RunTransfer]) -> list[tuple[RunTransfer, RunTransfer]]:
    """Pairs (run, reference) at the same temperature with the same model.

    The reference is the run with the fewest beads, whatever its isotope if it is classical: the positions of classical nuclei do
    not depend on mass. Between isotopes it is the lightest, at the same number of beads above one.
    """
    found = []
    for item in analysed:
        alike = [other for other in analysed if _same_surface(item.run, other.run)]
        fewest = min(alike, key=lambda other: other.run.n_beads)
        if item.run.n_beads > fewest.run.n_beads and (fewest.run.n_beads == 1 or fewest.isotope == item.isotope):
            found.append((item, fewest))
    for item in analysed:
        beside = [other for other in analysed if other.run.n_beads == item.run.n_beads > 1]
        lightest = min(
            (other for other in beside if _same_surface(item.run, other.run)),
            key=lambda other: other.run.structure.get_masses()[other.site.proton],
            default=item,
        )
        if lightest.isotope != item.isotope:
            found.append((item, lightest))
    return found


def _same_surface(run: Run, other: Run) -> bool:
    return run.temperature_K == other.temperature_K and model_content(run.model) == model_content(other.model)


def difference(one: Mean, other: Mean) -> Mean:
    """Difference of means of independent runs."""
    return Mean(
        one.value - other.value, float(np.hypot(one.error, other.error)), min(one.n_effective, other.n_effective)
    )
