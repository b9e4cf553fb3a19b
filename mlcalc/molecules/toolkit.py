"""RDKit, which reads and draws molecules: loaded on first use, silent, and named where it is missing."""

from typing import Any

from mlcalc.common.errors import InputError


def rdkit() -> Any:
    """The module ``rdkit.Chem``; InputError if it is not installed."""
    try:
        from rdkit import Chem, rdBase
    except ImportError as error:
        raise InputError("molecules need RDKit, which is not installed: pip install 'mlcalc[molecules]'") from error
    rdBase.DisableLog("rdApp.*")  # its reports span lines; ours is one
    return Chem
