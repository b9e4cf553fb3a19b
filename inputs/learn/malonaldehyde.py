"""Proton transfer in malonaldehyde, from a geometry to a figure by two commands: quantum and classical, H and D.

    mlcalc learn inputs/malonaldehyde/malonaldehyde.xyz --engine tblite:GFN2-xTB -o learned
    python inputs/learn/malonaldehyde.py learned

The second moves P beads and classical nuclei for 100 ps each with what the first has learnt, with hydrogen and then with deuterium
between the oxygens, and draws δ = r(O4–H5) − r(O0–H5) of the four runs with standard errors: transfer.png in that folder, with
.txt, .svg and .json beside it. Give an interrupted command again: it resumes.
"""

import argparse
import sys
from pathlib import Path

import md.cli
from analysis.transfer.report import analyse, as_text, write_files
from analysis.transfer.site import Site
from mlcalc.common.errors import InputError, run_command
from mlcalc.common.files import make_folder
from mlcalc.data.labelling import write_frames
from mlcalc.learn.settings import PLAN_FILE, RESULT, read_plan
from mlcalc.structures.structure_files import read_last

SITE = Site(donor=4, proton=5, acceptor=0)  # in malonaldehyde.xyz
DEUTERIUM_U = 2.014
_DISCARD = 0.1  # of the frames
_SIGNAL = 128


def run(learned: Path, length_ps: float, options: list[str]) -> list[Path]:
    """Run P beads and classical nuclei of both isotopes, or resume that; returns the four run folders.

    Args:
        learned: Folder of ``mlcalc learn``; the runs go to ``learned/transfer``.
        length_ps: Of each.
        options: Further words of ``rpmd run``.

    Raises:
        InputError: No finished learning there, of another molecule, or a guard stopped a run; its message is on stderr.
    """
    if not (learned / RESULT).is_file():
        raise InputError(f"{learned}: holds no {RESULT}: expected a folder in which 'mlcalc learn' has ended")
    settings, light = read_plan(learned / PLAN_FILE), read_last(learned / "minimum.xyz")
    if light.get_chemical_formula() != "C3H4O2" or [light.numbers[k] for k in SITE] != [8, 1, 8]:
        raise InputError(
            f"{learned}: learnt {light.get_chemical_formula()}: expected inputs/malonaldehyde/malonaldehyde.xyz"
        )
    heavy = light.copy()
    masses = heavy.get_masses()
    masses[SITE.proton] = DEUTERIUM_U
    heavy.set_masses(masses)
    make_folder(learned / "transfer")
    folders = []
    for isotope, atoms in (("H", light), ("D", heavy)):
        structure, output = learned / "transfer" / f"{isotope}.xyz", learned / "transfer" / isotope
        if not structure.is_file():
            atoms.calc = None
            write_frames([atoms], structure)
        words = ["run", str(learned / "rpmd.toml"), "--output", str(output), "--no-figure", *options]
        words += ["--steps", str(round(1e3 * length_ps / settings.timestep_fs)), "--set", f"structure={structure}"]
        code = md.cli.main([*words, "--set", "bond_guard=record"])  # bonds of the proton break and form
        if code >= _SIGNAL:
            raise KeyboardInterrupt(code)
        if code:
            raise InputError(f"{output}: rpmd run ended with code {code}")
        folders += [output / f"P{beads}" for beads in settings.bead_counts]
    return folders


def draw(folders: list[Path], figure_path: Path) -> str:
    """Draw the figure of runs beside its table and numbers, and return the table."""
    analysed = analyse(folders, _DISCARD, choose=lambda run: SITE)
    write_files(analysed, figure_path)
    return as_text(analysed)


def main() -> None:
    """Run, and draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("learned", type=Path, help="folder of mlcalc learn")
    parser.add_argument("--ps", type=float, default=100.0, help="length of each run (default: 100)")
    parser.add_argument("-o", "--output", type=Path, help="figure (default: LEARNED/transfer.png)")
    options = parser.parse_args()
    figure = options.output or options.learned / "transfer.png"
    sys.exit(run_command("malonaldehyde.py", lambda: print(draw(run(options.learned, options.ps, []), figure))))


if __name__ == "__main__":
    main()
