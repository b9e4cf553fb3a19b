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
# # What atoms know
#
# Networks give numbers to atoms: energies and charges, what one atom more would feel, vectors of elements. Which of them are
# chemistry, and which accidents of a training? Four ways to look, on molecules of QM9 and on acetylacetone.
#
# Open this file as a notebook with [jupytext](https://jupytext.readthedocs.io); it trains two small networks, some minutes each:
#
# ```sh
# pip install -e '.[notebooks]' qm9pack
# mkdir -p runs/atoms
# mlcalc data qm9 -o runs/atoms/qm9.xyz --number 600
# jupytext --to ipynb --execute analysis/notebooks/atoms.py
# ```
#
# `docs/reading.md` has all ways to read a network side by side, and when each misleads.

# %%
# %matplotlib inline
import json
import os
from pathlib import Path

import numpy as np
from ase import units
from ase.io import read
from matplotlib import pyplot as plt

from analysis.atoms import report as atoms_report
from analysis.atoms.charges import atom_charges
from analysis.atoms.energies import atom_energies
from analysis.atoms.figure import atoms_figure
from analysis.embeddings import report as embeddings_report
from analysis.embeddings.figure import embeddings_figure
from analysis.embeddings.vectors import element_vectors
from analysis.figures import OKABE_ITO
from analysis.probe.energies import ProbedMolecule
from analysis.probe.figure import probe_figure
from analysis.probe.report import as_text, local_potential
from mlcalc import load_model
from mlcalc.training.start import train

# Paths are those of the repository, wherever in it the notebook is opened.
checkout = next((folder for folder in (Path.cwd(), *Path.cwd().parents) if (folder / "CITATION.cff").exists()), None)
if checkout is None:
    raise SystemExit(f"{Path.cwd()} lies in no checkout of mlcalc: open this notebook within one")
os.chdir(checkout)

runs = Path(os.environ.get("MLCALC_RUNS", "runs/atoms"))
steps = int(os.environ.get("MLCALC_STEPS", "1000"))
errors = Path(os.environ.get("MLCALC_ERRORS", "inputs/qm9/reference/errors"))
of_elements = Path(os.environ.get("MLCALC_ELEMENTS", "inputs/elements/data/net1/model.safetensors"))

# %% [markdown]
# ## How many molecules does a network need?
#
# Mean absolute errors of energies U0 of QM9 on molecules that the networks have not seen, with two standard errors, a file for
# each training. The recipe of `inputs/qm9` makes them in hours; where there are none, this cell says so.

# %%
found = [json.loads(path.read_text()) for path in sorted(errors.glob("*.json"))]
if found:
    figure, axes = plt.subplots(figsize=(5.2, 3.6), layout="constrained")
    for name in dict.fromkeys(row["network"] for row in found):
        rows = sorted((row for row in found if row["network"] == name), key=lambda row: row["molecules"])
        sizes, maes, bars = ([row[key] for row in rows] for key in ("molecules", "mae_meV", "mae_error_meV"))
        axes.errorbar(sizes, maes, yerr=2 * np.array(bars), marker="o", ms=4, capsize=2, label=name)
    axes.axhline(1e3 * units.kcal / units.mol, color="black", ls=":", lw=1, label="1 kcal/mol")
    axes.set(xscale="log", yscale="log", xlabel="molecules to train on", ylabel="MAE of U0 / meV")
    axes.legend(frameon=False)
    plt.show()
else:
    print(f"{errors}: no errors yet; train networks of QM9 first")

# %% [markdown]
# ## Two networks that differ in their seed
#
# PaiNNs of energies and of Mulliken's charges, which are a readout beside the energy. Run again, the cell finds them trained.

# %%
keys = f"""
data = ["{(runs / "qm9.xyz").resolve()}"]
architecture = "painn"
n_features = 24
n_interactions = 2
n_rbf = 16
cutoff_A = 5.0
energy_only = true
readouts = ["charges"]
charges_weight = 100.0
split = "random"
batch_size = 10
steps = {steps}
validation_every_steps = {max(1, steps // 4)}
warmup_steps = 20
learning_rate = 3e-3
ema_decay = 0.97
compile = false
"""
(runs / "train.toml").write_text(keys)
networks = {}
for seed in (1, 2):
    folder = runs / f"seed{seed}"
    if not (folder / "model.safetensors").exists():
        train(runs / "train.toml", folder, overrides={"seed": seed})
    networks[f"seed {seed}"] = load_model(folder)

# %% [markdown]
# ## Energies and charges of atoms
#
# By environment: an atom and its bonded neighbours, of the first 100 molecules.

# %%
molecules = read(runs / "qm9.xyz", ":100")
energies = atom_energies(networks, molecules, "qm9.xyz")
charges = atom_charges(networks, molecules, "qm9.xyz")
atoms_figure(energies, charges, molecules[0])

# %%
print(atoms_report.as_text(energies, charges))

# %% [markdown]
# What to read from it:
#
# * **Energies**: only their sum was learnt. The networks put different zeros on the elements, and where *over models* is as large
#   as *over environments*, boxes of one colour say nothing that those of the other would repeat.
# * **Charges** were learnt atom by atom: the networks agree with each other as well as with the labels. That says that they are
#   functions of the surroundings, not that Mulliken's are the right ones.
# * **r over all atoms** is near 1 for anybody who knows the elements. Within an environment it is the environment beyond the bonded
#   neighbours that counts.
#
# ## What would one hydrogen more feel?
#
# The network `acac` knows acetylacetone alone. A probe H, of which the molecule feels nothing, on a surface around it:

# %%
acac, enol = load_model("acac"), read("inputs/acac/acac.xyz")
whole = local_potential(acac, enol, "H", level=3.7, spacing=0.2, name="acac")
print(as_text(whole))
probe_figure(whole)

# %% [markdown]
# The minimum on this surface is no chemistry: the network was never asked about one atom more. Where an atom is *missing*, it knows
# better. Along each broken bond to hydrogen the minimum is where that hydrogen was:

# %%
lengths = np.linspace(0.7, 3.0, 93)
figure, axes = plt.subplots(figsize=(5.2, 3.2), layout="constrained")
for hydrogen in np.flatnonzero(enol.numbers == 1):
    rest = enol[np.arange(len(enol)) != hydrogen]
    distances = np.linalg.norm(rest.positions - enol.positions[hydrogen], axis=1)
    partner, bond = rest[distances.argmin()], distances.min()
    direction = (enol.positions[hydrogen] - partner.position) / bond
    potential = ProbedMolecule(acac, rest).energies(1, partner.position + lengths[:, None] * direction)
    colour = OKABE_ITO[1] if partner.symbol == "O" else OKABE_ITO[0]
    axes.plot(lengths, potential, lw=1, color=colour)
    axes.plot(bond, np.interp(bond, lengths, potential), "o", ms=4, color=colour)
    print(f"{partner.symbol}–H of {bond:.2f} Å: minimum at {lengths[potential.argmin()]:.2f} Å")
axes.set(
    xlabel="distance from the heavy atom / Å", ylabel="energy of the probe / eV", title="bonds to C blue, to O orange"
)
plt.show()

# %% [markdown]
# ## Vectors of elements
#
# Are elements of one group nearer to each other? The networks above know five elements, too few to tell; that of `inputs/elements`
# knows 36. It is shown where it has been trained.

# %%
shown = {"elements": load_model(of_elements)} if of_elements.exists() else networks
vectors = [element_vectors(model, name) for name, model in shown.items()]
compared = embeddings_report.compare(vectors, samples=9999, seed=0)
print(embeddings_report.as_text(compared))
embeddings_figure(compared)

# %% [markdown]
# Two components show patterns in anything: the p-values test all dimensions, against other ways to hand out the labels.
