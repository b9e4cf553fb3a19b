# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---
# %% [markdown]
# # C20: classical against quantum nuclei
#
# How much wider are the distance distributions of C20 at 300 K when its nuclei are quantum mechanical?
#
# ```sh
# pip install -e '.[notebooks]'
# rpmd run inputs/c20/founding.toml      # 1.25 ns with P = 8 and P = 1: twenty minutes on two cores
# jupytext --to ipynb --execute analysis/notebooks/c20_classical_quantum.py
# ```

# %%
# %matplotlib inline
import os
from pathlib import Path

import numpy as np
from ase import units
from IPython.display import display
from matplotlib import pyplot as plt

from analysis.distances import report
from analysis.distances.figure import distance_figure
from analysis.figures import OKABE_ITO
from analysis.runs import properties
from analysis.runs.universe import bead_universe, centroid_universe, open_run

# Paths are those of the repository, wherever in it the notebook is opened.
checkout = next((folder for folder in (Path.cwd(), *Path.cwd().parents) if (folder / "CITATION.cff").exists()), None)
if checkout is None:
    raise SystemExit(f"{Path.cwd()} lies in no checkout of mlcalc: open this notebook within one")
os.chdir(checkout)

runs = Path(os.environ.get("MLCALC_RUNS", "runs/founding"))
folders = [runs / "P8", runs / "P1"]

# %% [markdown]
# ## Are the runs sound?
#
# Temperature, energies and two estimators of the kinetic energy that must agree: the primitive one scatters, the virial one does
# not. Classical nuclei have $\frac{3}{2}k_BT$ for each atom, less the motion of the centre of mass; quantum nuclei have more.

# %%
print(properties.as_text(properties.read_runs(folders, discard=0.1, pooled=False)))

# %% [markdown]
# ## Distance distributions
#
# Bands are standard errors; dashed, the same network with its energy quadratic about the minimum. Bonds are stiff:
# zero-point motion spreads them. Diameters of the cage are soft: heat spreads them, and quantum mechanics adds little.

# %%
found = report.analyse(folders, discard=0.1)
print(report.as_text(found))
display(distance_figure(found))

# %% [markdown]
# ## Why: bead, centroid, classical particle
#
# The centroid of a ring polymer moves nearly as a classical particle would. The spread of the beads about it is the quantum part:
# for a free particle its variance along an axis is $\beta\hbar^2/12m$, for the distance of two of them twice that. Bonds hold it
# together more tightly, and nearly as tightly whatever the distance; heat, which spreads the centroids, moves the cage far more.

# %%
quantum = found[0]
for group in quantum.pairs:
    beads, centroid = (quantum.moments[group, kind].std.value for kind in ("beads", "centroid"))
    print(
        f"{report.NAMES[group]}: beads {beads:.4f} Å, centroid {centroid:.4f} Å, beyond it {np.sqrt(beads**2 - centroid**2):.4f} Å"
    )
free = np.sqrt(2 * units._hbar**2 / (12 * units._k * 300 * 12.011 * units._amu)) * 1e10
print(f"two free carbon nuclei at 300 K: beyond their centroids {free:.4f} Å")

# %% [markdown]
# ## One bond in time
#
# The distance between two neighbours in one bead and between their centroids, over the first two picoseconds of the trajectory.

# %%
run = open_run(folders[0])
first, second = quantum.pairs["bonds"][0]
_, axes = plt.subplots(figsize=(7, 2.6), layout="constrained")
for universe, label, color in (
    (bead_universe(run), "bead 0", OKABE_ITO[0]),
    (centroid_universe(run), "centroid", OKABE_ITO[1]),
):
    series = [
        (step.time, np.linalg.norm(step.positions[first] - step.positions[second]))
        for step in universe.trajectory[: max(20, int(2.0 / run.frame_interval_ps))]
    ]
    axes.plot(*zip(*series, strict=True), label=label, color=color, lw=1)
axes.set(xlabel="time / ps", ylabel="distance / Å")
axes.legend(frameon=False)
plt.show()
