"""The measured programs: for each architecture, name to script in peers/, its variant and its environment."""

from typing import NamedTuple

REFERENCE = "mlcalc"


class Peer(NamedTuple):
    """A script in peers/, its ``--variant``, and the environment made by make_environments.sh; None: the present one."""

    script: str
    variant: str = ""
    environment: str | None = None


OURS = {
    REFERENCE: Peer("mlcalc_rpmd.py"),
    "mlcalc, forces alone": Peer("mlcalc_rpmd.py", "forces"),
    "mlcalc, motion alone": Peer("mlcalc_rpmd.py", "motion"),
}
OTHERS = {
    "JAX": Peer("jax_rpmd.py", "", "jax"),
    "JAX, forces alone": Peer("jax_rpmd.py", "forces", "jax"),
    "SchNetPack 2.1": Peer("schnetpack_rpmd.py", "", "schnetpack"),
    "SchNetPack 2.1, forces alone": Peer("schnetpack_rpmd.py", "forces", "schnetpack"),
    "SchNetPack 2.2": Peer("schnetpack_rpmd.py", "", "schnetpack-2.2"),
    "SchNetPack 2.2, forces alone": Peer("schnetpack_rpmd.py", "forces", "schnetpack-2.2"),
}


def _torch(script: str) -> dict[str, Peer]:
    return {f"PyTorch {mode}, forces alone": Peer(script, mode) for mode in ("compiled", "eager")}


PEERS = {name: OURS | _torch(f"torch_{name}.py") | OTHERS for name in ("schnet", "painn")}
PEERS["dtnn"] = PEERS["wacsf"] = OURS
PEERS["so3net"] = OURS | {name: peer for name, peer in OTHERS.items() if name.startswith("SchNetPack")}
