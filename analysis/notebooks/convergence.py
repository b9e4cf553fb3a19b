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
# # How many beads are enough?
#
# Path integrals are exact for P → ∞. What does a finite number of beads cost in accuracy, for which quantity?
#
# ```sh
# pip install -e '.[notebooks]'
# jupytext --to ipynb --execute analysis/notebooks/convergence.py     # two minutes on two cores
# ```

# %%
# %matplotlib inline
import os
from pathlib import Path

from ase.io import read
from IPython.display import display
from matplotlib import pyplot as plt

from analysis import convergence
from analysis.figures import OKABE_ITO
from md.runs import run
from md.runs.config import read_settings
from mlcalc import load_model
from mlcalc.modes import relaxed_modes
from mlcalc.vibrations import vibrational_energy

# Paths are those of the repository, wherever in it the notebook is opened.
checkout = next((folder for folder in (Path.cwd(), *Path.cwd().parents) if (folder / "CITATION.cff").exists()), None)
if checkout is None:
    raise SystemExit(f"{Path.cwd()} lies in no checkout of mlcalc: open this notebook within one")
os.chdir(checkout)

runs = Path(os.environ.get("MLCALC_RUNS", "runs/convergence"))
steps = int(os.environ.get("MLCALC_STEPS", "20000"))
beads = [int(text) for text in os.environ.get("MLCALC_BEADS", "1,2,4,8,16,32").split(",")]

# %% [markdown]
# ## First without any simulation
#
# Harmonic vibrations have closed forms at every P. The stiffest vibration decides, through $\beta\hbar\omega/P$.

# %%
modes = relaxed_modes(read("inputs/c20/c20.xyz"), load_model("c20"))
limit = vibrational_energy(modes.energies, 300.0, beads=None)
many = [1, 2, 4, 8, 16, 32, 64, 128]
short = [1e3 * (limit - vibrational_energy(modes.energies, 300.0, p)) / 20 for p in many]
_, axes = plt.subplots(figsize=(5, 2.8), layout="constrained")
axes.loglog(many, short, "o-", color=OKABE_ITO[0])
axes.set(xlabel="beads P", ylabel="energy that is missing / meV per atom", title="C20 at 300 K, harmonic")
axes.set_xticks(many, [str(p) for p in many])
plt.show()

# %% [markdown]
# ## Then with the full energy surface
#
# The same as `rpmd converge inputs/c20/rpmd.toml` in a shell. BCOCB propagates harmonic modes exactly, so that no error of the
# time step hides the effect of P.

# %%
changes = {"beads": beads, "steps": steps, "output": str(runs), "integrator": "BCOCB", "heat_capacity": True}
_, folders = run(read_settings("inputs/c20/rpmd.toml", changes))

# %%
result = convergence.converge(folders, discard=0.1)
print(convergence.as_text(result))
display(convergence.convergence_figure(result))

# %% [markdown]
# Bond widths converge with few beads; total energies need several times as many, and heat capacities, which depend on
# differences of energies, twice as many again.
