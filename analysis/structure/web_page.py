"""A structure with shapes around it, to turn in a browser: needs chemiscope (``pip install 'mlcalc[notebooks]'``)."""

from collections.abc import Sequence
from html import escape
from pathlib import Path
from string import Template
from typing import NamedTuple

from ase import Atoms

from mlcalc.common.json_text import to_json

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


class Scale(NamedTuple):
    """Energies at both ends of a scale of colours, eV, and the colours as CSS names them."""

    low: float
    high: float
    colours: Sequence[str]


def web_page(atoms: Atoms, shapes: dict, title: str, scale: Scale, **settings: bool) -> bytes | None:
    """A page that needs no network and no other file; None if chemiscope is not installed.

    Args:
        shapes: One shape of chemiscope by its name; settings: of its structure panel, beside those of all pages.
    """
    try:
        import chemiscope
    except ImportError:
        return None
    library = Path(chemiscope.__file__).parent / "sphinx" / "static" / "chemiscope.min.js"
    if not library.is_file():
        return None
    (shape,) = shapes
    panel = {"shape": shape, "bonds": True, "atoms": True, "spaceFilling": False, "unitCell": False, **settings}
    data = chemiscope.create_input([atoms], shapes=shapes, settings={"structure": [panel]}, metadata={"name": title})
    page = _PAGE.substitute(
        title=escape(title), low=f"{scale.low:.2f}", high=f"{scale.high:.2f}", data=_script(to_json(data)),
        colours=", ".join(scale.colours), library=_script(library.read_text(encoding="utf-8")),
    )  # fmt: skip
    return page.encode()


def _script(text: str) -> str:
    """Text within a script element, which the first closing tag would end."""
    return text.replace("</script", "<\\/script").replace("<!--", "<\\!--")
