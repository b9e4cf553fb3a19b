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
# # Two liquids of beads: methane and water
#
# One bead for each molecule, networks trained on the forces that the atoms exert on the molecules' centres of mass: does the
# liquid of beads look like the liquid of atoms, what have the networks learned about the forces between molecules, and do they
# agree?
#
# Open this file as a notebook with [jupytext](https://jupytext.readthedocs.io):
#
# ```sh
# pip install -e '.[notebooks]'
# rpmd run inputs/methane/md.toml --no-figure         # 1.2 ns of 125 beads: runs/methane-cg
# rpmd run inputs/water/md.toml --no-figure           # 1.2 ns of 216 beads: runs/water-cg
# for model in methane-painn methane-so3net water-painn water-so3net; do    # 1 ns each
#   rpmd run inputs/${model%-*}/md.toml --model $model --output runs/$model --set steps=200000 --no-figure
# done
# jupytext --to ipynb --execute analysis/notebooks/liquids.py
# ```
#
# How the references and the models were made: `inputs/methane/README.md`, `inputs/water/README.md`.

# %%
# %matplotlib inline
import json
import os
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from analysis.liquid.structure import analyse as structure_of
from analysis.liquid.structure import read_liquid
from analysis.networks.comparison import compare as compare_networks
from analysis.networks.comparison import read_structure
from analysis.networks.report import as_text as networks_text
from analysis.networks.report import pairs_figure, triples_figure
from analysis.relevance.along_run import analyse as relevance_of
from analysis.relevance.figure import as_text, relevance_figure
from analysis.runs.universe import open_run

# Paths are those of the repository, wherever in it the notebook is opened.
checkout = next((folder for folder in (Path.cwd(), *Path.cwd().parents) if (folder / "CITATION.cff").exists()), None)
if checkout is None:
    raise SystemExit(f"{Path.cwd()} lies in no checkout of mlcalc: open this notebook within one")
os.chdir(checkout)

runs = Path(os.environ.get("MLCALC_RUNS", "runs"))
frames = int(os.environ.get("MLCALC_FRAMES", "24"))
gammas = [float(text) for text in os.environ.get("MLCALC_GAMMAS", "0,0.1,0.5").split(",")]


# %% [markdown]
# ## Structure
#
# The reference is OpenMM's liquid in atoms, seen at centres of mass. Its g(r) and its angles between neighbours lie in the
# repository, with their standard errors; those of the beads come from the runs above: of a SchNet (for water on an angular prior),
# of a PaiNN and of an SO3net.

# %%
networks = {"cg": "SchNet", "painn": "PaiNN", "so3net": "SO3net"}


def folders_of(liquid: str) -> dict[str, Path]:
    """Network → run, of those that are there."""
    found = {name: runs / f"{liquid}-{key}" for key, name in networks.items()}
    return {name: folder for name, folder in found.items() if folder.is_dir()}


def compare(name: str) -> None:
    """Draws g(r) and angles of the atoms (kept) and of the beads (runs), with bands of ±1 standard error."""
    atoms = json.loads(Path(f"inputs/{name}/reference/liquid.json").read_text())["liquids"][0]
    folders = folders_of(name)
    beads = structure_of([read_liquid(run, discard=0.1) for run in folders.values()], shell=atoms["shell_A"])
    figure, panels = plt.subplots(1, 2, figsize=(9.0, 3.2), layout="constrained")
    figure.suptitle(f"{name}: {atoms['frames']} frames of atoms, {beads[0].liquid.frames} or more of beads")
    for axes, kept, run in zip(panels, ("g", "angles_per_degree"), ("g", "angle_density"), strict=True):
        curves = [("atoms, centres of mass", *(np.array(atoms[kept][key]) for key in ("edges", "value", "error")))]
        densities = [getattr(item, run) for item in beads]
        curves += [(label, *density) for label, density in zip(folders, densities, strict=True)]
        for label, edges, value, error in curves:
            middle = 0.5 * (edges[1:] + edges[:-1])
            axes.plot(middle, value, lw=1.2, label=label)
            axes.fill_between(middle, value - error, value + error, alpha=0.3, lw=0)
    panels[0].set(xlabel="distance r / Å", ylabel="g(r)")
    panels[0].legend(frameon=False)
    panels[1].set(xlabel=f"angle, both sides < {beads[0].shell:.2f} Å / degree", ylabel="density / degree$^{-1}$")


# %%
compare("methane")

# %%
compare("water")

# %% [markdown]
# In structure, methane's beads match its molecules, whatever the network. Water's have both shells at the right distance, the
# second at 4.56 Å, that of tetrahedral neighbours, a little less sharp than those of the atoms. A SchNet alone does not reach
# this: its model contains an angular term, `mlcalc.priors.angular`. PaiNN and SO3net, whose features know directions, find the
# second shell without it (`inputs/water/README.md` has the comparison).
#
# ## Explanation
#
# GNN-LRP follows the energy of a frame back through the network: how much do pairs contribute at a distance, triples at an
# angle? γ is a choice, so several are shown; ΣR is not E, because biases keep a share, and the energy of a model that was trained
# on forces alone has no zero to begin with.

# %%
methane = [relevance_of(open_run(runs / "methane-cg"), gamma, frames, discard=0.1, rdf=True) for gamma in gammas]
relevance_figure(methane)

# %%
print(as_text(methane))

# %% [markdown]
# What to read from it:
#
# * **Two beads** (a): the pair is repulsive wherever beads come close, 0.04 eV at 3.5 Å, a third of kT at 4.1 Å, nothing beyond
#   4.5 Å. There is no attraction: the fixed volume of the cell holds this liquid together. The maximum of
#   g(r) is where the repulsion has decayed.
# * **Three beads** (b): triangles of neighbours, at 57°, lower the energy a little, at the first maximum of the angles.
# * **Orders** (c): pairs, a correction by triples, nothing more. Methane is nearly spherical: a sum over pairs describes
#   most of it.
# * **γ** shifts weight from three beads to two; signs and positions stay.

# %%
water = [relevance_of(open_run(runs / "water-cg"), gamma, frames, discard=0.1, rdf=True) for gamma in gammas]
relevance_figure(water)

# %%
print(as_text(water))

# %% [markdown]
# What to read from it:
#
# * **Two beads:** pairs around 2.8 Å hold the first shell, with four to seven kT. From 3.6 to 5.2 Å pairs repel: molecules
#   that are not bound are kept out of this range.
# * **Three beads:** triangles cost more than any other angle, and near the tetrahedral angle triples cost least. The angular prior
#   (dotted) has this shape, and so has the contribution of the network.
# * **Orders:** triples cancel a sixth to a quarter of the contribution of pairs, most of it through the prior.
#
# ## Three networks
#
# Relevance is what one network says. What do networks of other architectures say of the same liquids, and for which γ?

# %%
liquids = ("methane", "water")
structures = {liquid: read_structure(Path(f"inputs/{liquid}/reference/liquid.json")) for liquid in liquids}
folders = [(liquid, run) for liquid in liquids for run in folders_of(liquid).values()]
found = compare_networks(folders, structures, gammas, frames=frames, discard=0.1)
pairs_figure(found, structures)

# %%
triples_figure(found)

# %%
print(networks_text(found))

# %% [markdown]
# The last table counts signs over networks and γ. Where all networks agree for every γ, the sign may be reported as a property of
# the liquid; the other signs depend on the network or on γ. `docs/relevance.md` tests explanations by removing pairs.
