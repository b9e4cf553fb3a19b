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
# # Quick start
#
# From a model to a number with an error bar, in a minute. Open this file as a notebook with
# [jupytext](https://jupytext.readthedocs.io):
#
# ```sh
# pip install -e '.[notebooks]'
# jupytext --to ipynb --execute analysis/notebooks/quick_start.py
# ```

# %%
# %matplotlib inline
import os
from pathlib import Path

import numpy as np
from ase.io import read
from ase.optimize import FIRE
from IPython.display import display
from matplotlib import pyplot as plt

from analysis.distances import gyration, report
from analysis.distances.figure import distance_figure
from analysis.figures import OKABE_ITO
from analysis.runs import properties
from analysis.runs.universe import bead_universe, open_run
from md.runs import run
from md.runs.config import read_settings
from mlcalc import SchNetCalculator

# Paths are those of the repository, wherever in it the notebook is opened.
checkout = next((folder for folder in (Path.cwd(), *Path.cwd().parents) if (folder / "CITATION.cff").exists()), None)
if checkout is None:
    raise SystemExit(f"{Path.cwd()} lies in no checkout of mlcalc: open this notebook within one")
os.chdir(checkout)

runs = Path(os.environ.get("MLCALC_RUNS", "runs/quick_start"))
steps = int(os.environ.get("MLCALC_STEPS", "20000"))

# %% [markdown]
# ## A calculator
#
# `c20` is a SchNet for the smallest fullerene that comes with mlcalc. It is an ASE calculator like any other: energies in eV,
# forces in eV/Å.

# %%
atoms = read("inputs/c20/c20.xyz")
atoms.calc = SchNetCalculator("c20")
FIRE(atoms, logfile=None).run(fmax=1e-3, steps=500)
print(f"energy {atoms.get_potential_energy():.4f} eV, largest force {np.abs(atoms.get_forces()).max():.1e} eV/Å")

# %% [markdown]
# ## Quantum nuclei
#
# Eight beads for each nucleus at 300 K, and classical nuclei (P = 1) for comparison: `steps` of 0.5 fs. The same as
# `rpmd run inputs/c20/rpmd.toml` in a shell. Run again, the cell resumes the run, or finds it finished.

# %%
settings = read_settings("inputs/c20/rpmd.toml", {"steps": steps, "output": str(runs)})
code, folders = run(settings)

# %% [markdown]
# ## Numbers with error bars
#
# Every ± is one standard error, from blocks long enough to be independent of each other.

# %%
print(properties.as_text(properties.read_runs(folders, discard=0.1, pooled=False)))

# %% [markdown]
# ## Distances
#
# How much wider do quantum nuclei make the bonds?

# %%
found = report.analyse(folders, discard=0.1)
print(report.as_text(found))
display(distance_figure(found))

# %% [markdown]
# ## The same data in MDAnalysis
#
# All beads of all atoms, a segment for each bead, streamed from the file: everything in MDAnalysis works on them.

# %%
universe = bead_universe(open_run(folders[0]))
print(universe, "frames:", universe.trajectory.n_frames, "one every", universe.trajectory.dt, "ps")
clouds = gyration.RingPolymerGyration(universe).run()
_, axes = plt.subplots(figsize=(5, 2.6), layout="constrained")
axes.errorbar(range(1, 21), clouds.results.radius, clouds.results.error, fmt="o", ms=3, capsize=2, color=OKABE_ITO[0])
axes.set(xlabel="atom", ylabel="radius of gyration / Å", title="how far each carbon nucleus is spread out")
axes.set_xticks(range(1, 21))
plt.show()

# %% [markdown]
# **Next:** [c20_classical_quantum.py](c20_classical_quantum.py) analyses 1.25 ns of C20, [convergence.py](convergence.py) asks
# how many beads are enough, [c20_relevance.py](c20_relevance.py) what the network has learned, [ipi_output.py](ipi_output.py)
# starts from i-PI, [liquids.py](liquids.py) from coarse-grained liquids.
