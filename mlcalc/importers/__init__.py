"""Networks of other programs: a module for each, which executes nothing of a checkpoint, and a row here."""

from collections.abc import Callable
from typing import NamedTuple

from mlcalc.model import Model


class Importer(NamedTuple):
    """A row of IMPORTERS.

    Attributes:
        what: For ``--help``.
        has_units: Whether the program fixes the units of its checkpoints; otherwise the user names them.
        read: (checkpoint, elements or None, energy unit, length unit) → Model; the units are None where the program fixes them.
    """

    what: str
    has_units: bool
    read: Callable[[str, tuple[str, ...] | None, str | None, str | None], Model]


def _schnetpack(source, elements, energy_unit, length_unit) -> Model:
    from mlcalc.importers.schnetpack import import_schnetpack

    return import_schnetpack(source, energy_unit, length_unit, elements)


def _schnet_tf(source, elements, energy_unit, length_unit) -> Model:
    from mlcalc.importers.schnet_tf import import_schnet_tf

    return import_schnet_tf(source, elements or ("C",))


def _dtnn_7ib(source, elements, energy_unit, length_unit) -> Model:
    from mlcalc.importers.dtnn_7ib import import_dtnn_7ib

    return import_dtnn_7ib(source, elements)


IMPORTERS = {
    "schnetpack": Importer("SchNet, PaiNN or SO3net of SchNetPack 2, best_model", False, _schnetpack),
    "schnet-tf": Importer("original SchNet, folder of a TensorFlow V2 checkpoint", True, _schnet_tf),
    "dtnn-7ib": Importer("the DTNN of QM9 (DTNN_7ib), folder of its TensorFlow V2 checkpoint", True, _dtnn_7ib),
}
