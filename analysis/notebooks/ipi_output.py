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
# # From i-PI to the same analysis
#
# i-PI moves the ring polymer and mlcalc computes its forces; the output of i-PI then becomes a run folder like any other.
#
# ```sh
# pip install -e '.[notebooks]'
# jupytext --to ipynb --execute analysis/notebooks/ipi_output.py
# ```

# %%
# %matplotlib inline
import os
import shutil
import subprocess
import sys
from pathlib import Path

from IPython.display import display

from analysis.distances import gyration, report
from analysis.distances.figure import distance_figure
from analysis.ipi.output import convert
from analysis.runs import properties
from analysis.runs.universe import bead_universe, open_run

# Paths are those of the repository, wherever in it the notebook is opened.
checkout = next((folder for folder in (Path.cwd(), *Path.cwd().parents) if (folder / "CITATION.cff").exists()), None)
if checkout is None:
    raise SystemExit(f"{Path.cwd()} lies in no checkout of mlcalc: open this notebook within one")
os.chdir(checkout)
# Programs are those of this kernel's environment, activated or not.
os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])

work = Path(os.environ.get("MLCALC_RUNS", "runs/ipi"))
steps = int(os.environ.get("MLCALC_STEPS", "4000"))

# %% [markdown]
# ## An input of i-PI
#
# `inputs/ipi/pimd-direct.xml`: 300 K, P = 8, PILE-L. Fill in two places: the path of mlcalc's driver (`rpmd ipi-driver-path`
# prints it), which computes all beads in one call within i-PI's own process, and the number of steps.

# %%
shutil.copytree("inputs/ipi", work, dirs_exist_ok=True)
driver = subprocess.run(["rpmd", "ipi-driver-path"], capture_output=True, text=True, check=True).stdout.strip()
text = (work / "pimd-direct.xml").read_text().replace("<pes_path>PATH<", f"<pes_path>{driver}<")
(work / "mine.xml").write_text(text.replace("<total_steps>2000<", f"<total_steps>{steps}<"))
subprocess.run(["i-pi", "mine.xml"], cwd=work, capture_output=True, check=True)
print(*sorted(path.name for path in work.iterdir()), sep="  ")

# %% [markdown]
# ## A run folder
#
# Positions of all beads, properties and the structure, in the units of mlcalc (`python -m analysis from-ipi` in a shell).

# %%
folder = convert(work / "mine.xml", work / "run", "c20")
print(properties.as_text(properties.read_runs([folder], discard=0.2, pooled=False)))

# %% [markdown]
# ## The analyses of every run folder

# %%
found = report.analyse([folder], discard=0.2)
print(report.as_text(found))
display(distance_figure(found))

# %%
universe = bead_universe(open_run(folder))
clouds = gyration.RingPolymerGyration(universe).run()
print(
    f"{universe.trajectory.n_frames} frames, one every {universe.trajectory.dt:g} ps; radii of gyration of the nuclei:"
)
print(" ".join(f"{radius:.4f}" for radius in clouds.results.radius), "Å")
