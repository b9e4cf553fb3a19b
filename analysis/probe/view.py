"""A local chemical potential in three dimensions, as a web page: needs chemiscope (``pip install 'mlcalc[notebooks]'``)."""

from html import escape
from pathlib import Path
from string import Template

import matplotlib
import numpy as np
from ase import Atoms
from matplotlib.colors import to_hex

from analysis.probe.figure import COLOURS, colour_scale
from analysis.probe.report import LocalPotential
from mlcalc.common.json_text import to_json

_BANDS = 24  # of colour: a shape of chemiscope has only one
_PAGE = Template("""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>$title</title>
<style>
body { margin: 0; font: 14px sans-serif; overflow: hidden; } #structure { position: absolute; inset: 3em 0 0 0; }
#meta, #info { display: none; }
header { height: 3em; line-height: 3em; padding: 0 1em; } .scale { display: inline-block; width: 16em; height: 1em;
vertical-align: middle; margin: 0 .5em; background: linear-gradient(to right, $colours); }
</style></head><body>
<header>$title: $low<span class="scale"></span>$high eV</header>
<div id="meta"></div><div id="structure"></div><div id="info"></div>
<script>$library</script>
<script>Chemiscope.StructureVisualizer.load({meta: "meta", structure: "structure", info: "info"}, $data);</script>
</body></html>
""")


def web_page(found: LocalPotential) -> bytes | None:
    """A page that needs no network and no other file; None if chemiscope is not installed."""
    try:
        import chemiscope
    except ImportError:
        return None
    library = Path(chemiscope.__file__).parent / "sphinx" / "static" / "chemiscope.min.js"
    if not library.is_file():
        return None
    atoms = Atoms(found.atoms.numbers, found.atoms.positions)
    shapes = {"surface": {"kind": "combined", "shapes": bands(found)}}
    settings = {
        "structure": [{"shape": "surface", "bonds": True, "atoms": True, "spaceFilling": False, "unitCell": False}]
    }
    title = f"Ω of a probe {found.symbol} around {found.formula}, {found.title}"
    data = chemiscope.create_input([atoms], shapes=shapes, settings=settings, metadata={"name": title})
    norm = colour_scale(found)
    page = _PAGE.substitute(
        title=escape(title), low=f"{norm.vmin:.2f}", high=f"{norm.vmax:.2f}", data=_script(to_json(data)),
        colours=", ".join(to_hex(colour) for colour in matplotlib.colormaps[COLOURS](np.linspace(0.0, 1.0, 9))),
        library=_script(library.read_text(encoding="utf-8")),
    )  # fmt: skip
    return page.encode()


def bands(found: LocalPotential) -> list[dict]:
    """Shapes of chemiscope: the triangles of the surface by their colour."""
    triangles = found.surface.triangles
    share = colour_scale(found)(found.energies[triangles].mean(axis=1)).clip(0.0, 1.0)
    of_band, shapes = np.minimum((share * _BANDS).astype(int), _BANDS - 1), []
    for band in np.unique(of_band):
        corners, simplices = np.unique(triangles[of_band == band], return_inverse=True)
        colour = to_hex(matplotlib.colormaps[COLOURS]((band + 0.5) / _BANDS))
        parameters = {
            "vertices": found.surface.points[corners].round(4).tolist(),
            "simplices": simplices.reshape(-1, 3).tolist(), "color": colour,
        }  # fmt: skip
        shapes.append({"kind": "custom", "parameters": {"global": {}, "structure": [parameters]}})
    return shapes


def _script(text: str) -> str:
    """Text within a script element, which the first closing tag would end."""
    return text.replace("</script", "<\\/script").replace("<!--", "<\\!--")
