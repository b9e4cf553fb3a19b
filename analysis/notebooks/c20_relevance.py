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
# # What a network has learned of C20
#
# A SchNet computes the energy of the C20 cage. Which atoms contribute what? GNN-LRP follows the energy back through the
# network: along *walks* from atom to atom, one step for each interaction block. Walks that visit one atom alone make up its
# 1-body relevance, walks that visit two the 2-body relevance of the pair, and so on.
#
# Open this file as a notebook with [jupytext](https://jupytext.readthedocs.io):
#
# ```sh
# pip install -e '.[notebooks]'
# rpmd run inputs/c20/rpmd.toml          # 30 ps with P = 8 and P = 1: runs/c20
# jupytext --to ipynb --execute analysis/notebooks/c20_relevance.py
# ```

# %%
# %matplotlib inline
import os
from pathlib import Path

from ase.io import read

from analysis.relevance.along_run import analyse
from analysis.relevance.explain import as_text, explain
from analysis.relevance.figure import as_text as runs_as_text
from analysis.relevance.figure import relevance_figure
from analysis.relevance.view import pair_view
from analysis.runs.universe import open_run
from mlcalc import SchNetCalculator, load_model

# Paths are those of the repository, wherever in it the notebook is opened.
checkout = next((folder for folder in (Path.cwd(), *Path.cwd().parents) if (folder / "CITATION.cff").exists()), None)
if checkout is None:
    raise SystemExit(f"{Path.cwd()} lies in no checkout of mlcalc: open this notebook within one")
os.chdir(checkout)

runs = Path(os.environ.get("MLCALC_RUNS", "runs/c20"))
frames = int(os.environ.get("MLCALC_FRAMES", "24"))
gamma = 0.1

# %% [markdown]
# ## The cage at rest
#
# The structure at the minimum of the network. ΣR is the sum over all walks. It is not the energy: biases of the network keep a
# share, so the ratio is always reported.

# %%
atoms = read("inputs/c20/c20.xyz")
atoms.calc = SchNetCalculator("c20")
model = load_model("c20")
cage = explain(model, atoms, gamma)
print(as_text([cage], gamma))

# %% [markdown]
# Three million walks contribute to this table, and none is enumerated: sums over sets of atoms do not need it.
#
# ### How much depends on γ?
#
# γ favours contributions with the sign of a neuron's activation. The larger it is, the less contributions of opposite signs cancel,
# and the smaller the sums by order are. A result that holds for only one γ is not a property of carbon.

# %%
for value in (0.0, 0.1, 0.3, 1.0):
    print(as_text([explain(model, atoms, value)], value).split("\n\n")[0], "\n")

# %% [markdown]
# ### Pairs in three dimensions
#
# Blue pairs lower the energy, vermilion ones raise it; cross sections are proportional to the relevance. Bonds that are short in
# the Jahn-Teller distorted cage bind; pairs across the cage cost energy: the cage is strained.

# %%
pair_view([cage])

# %% [markdown]
# ## The cage in motion
#
# The network evaluates every bead of the ring polymer as a structure. The figure shows its pair relevance against distance (top)
# above the distribution of distances that quantum (P = 8) and classical (P = 1) nuclei visit.

# %%
found = [analyse(open_run(runs / name), gamma, frames, discard=0.1) for name in ("P8", "P1")]
relevance_figure(found)

# %%
print(runs_as_text(found))

# %% [markdown]
# What to read from it:
#
# * **Bonds** (one bond between): the curve climbs steeply through zero. Short bonds lower the energy and long ones raise it. P = 8
#   spreads bond lengths by a third more than P = 1, mostly over the steep part of the curve: for the network this is the zero-point
#   energy of the stretching vibrations.
# * **Across a pentagon** (two bonds between): nearly neutral on average, falling with distance.
# * **Across the cage** (three to five bonds): these pairs raise the energy, the more the farther they are apart; both kinds of
#   nuclei see the same curve, and nearly the same part of it.
# * The curves of P = 8 and P = 1 are one curve: quantum nuclei sample the same function over a wider range.
# * Orders above two are not small. A sum of pair potentials cannot replace this network.
