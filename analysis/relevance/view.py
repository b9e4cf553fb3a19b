"""Relevances of pairs in three dimensions, for notebooks: needs chemiscope (``pip install 'mlcalc[notebooks]'``)."""

import numpy as np

from analysis.relevance.explain import Explanation

LOWERS, RAISES = "#0072B2", "#D55E00"  # blue, vermilion of Okabe and Ito
_WIDEST = 0.18  # Å, radius of the strongest pair
_WEAKEST = 0.05  # smallest share of the strongest that is drawn


def pair_view(explanations: list[Explanation]):
    """A chemiscope widget: pairs as cylinders, blue where they lower the energy and vermilion where they raise it.

    The area of a cross section is proportional to the relevance, on one scale for all structures; pairs below a twentieth of the
    strongest are left out.
    """
    import chemiscope

    strongest = max(np.abs(item.pairs).max(initial=0.0) for item in explanations) or 1.0
    shapes = {
        "pair relevance": {
            "kind": "cylinders",
            "parameters": {"global": {}, "structure": [pair_cylinders(item, strongest) for item in explanations]},
        }
    }
    settings = {
        "structure": [
            {"shape": "pair relevance", "bonds": False, "atoms": True, "spaceFilling": False, "unitCell": False}
        ]
    }
    return chemiscope.show([item.atoms for item in explanations], shapes=shapes, settings=settings, mode="structure")


def pair_cylinders(item: Explanation, strongest: float) -> dict[str, list]:
    """Bases and vectors (n, 3) Å, radii (n,) Å and colours (n,) of the drawn pairs.

    Args:
        strongest: eV, the relevance drawn at full width.
    """
    t = item.trace
    bases = item.atoms.positions[t.first]
    ends = item.atoms.positions[t.second] + t.images @ item.atoms.cell.array
    return cylinders(bases, ends, item.pairs, strongest)


def cylinders(bases: np.ndarray, ends: np.ndarray, values: np.ndarray, strongest: float) -> dict[str, list]:
    """As pair_cylinders, from one end (n, 3) to the other, Å, of pairs with these relevances (n,) eV."""
    drawn = np.flatnonzero(np.abs(values) >= _WEAKEST * strongest)
    return {
        "bases": bases[drawn].tolist(), "vectors": (ends - bases)[drawn].tolist(),
        "radii": (_WIDEST * np.sqrt(np.abs(values[drawn]) / strongest)).tolist(),
        "colors": [LOWERS if value < 0 else RAISES for value in values[drawn]],
    }  # fmt: skip
