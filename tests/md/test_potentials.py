"""Networks are checked before they become potentials of the ring polymer."""

import pytest
from ase.build import bulk, molecule

from md.potentials import make_potential
from mlcalc.common.errors import InputError
from tests.conftest import ORIGINAL_DIALECT, SCHNETPACK_DIALECT, random_model


def test_networks_are_checked_at_the_door():
    slab = bulk("C", "diamond", 3.57)
    with pytest.raises(InputError, match="molecules only"):
        make_potential(random_model(ORIGINAL_DIALECT), slab)
    slab.cell[2] = 0
    with pytest.raises(InputError, match="every periodic direction needs a cell vector"):
        make_potential(random_model(SCHNETPACK_DIALECT), slab)
    with pytest.raises(InputError, match="element N: this model knows H, C"):
        make_potential(random_model(SCHNETPACK_DIALECT), molecule("N2"))
