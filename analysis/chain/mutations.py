"""Exchange of the type of one bead at fixed coordinates: what it does to the energy of a network and to its relevances.

What this can mean: how much the network's energy of *these structures* depends on the type at one place, and through which pairs.

What it cannot mean. Nothing relaxes: neither the chain nor the solvent and side chains that the beads stand for. It is therefore no
free energy, of folding or of anything else. Forces determine an energy up to a constant for every composition: a network trained on
forces of one sequence has never seen the mutant's, and its ΔE contains a constant of the two types that no datum fixes. It cancels
in the difference of ΔE between two sets of frames of the same chain, which is what to look at. A type at a place, or beside a type,
where training never had it is an extrapolation, in that difference too; the share of such neighbours is reported.

Priors: the repulsion of beads depends on types and is exchanged with them. Bonds, angles and dihedral angles have their parameters
by place along the chain, whatever the types (mlcalc/priors/chains.py): the mutant keeps those of the original.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from ase import Atoms

from analysis.chain.frames import Chain
from analysis.chain.residues import pair_map
from analysis.relevance.explain import Explanation, explain, explained_text
from mlcalc.architectures import architecture_of
from mlcalc.common.errors import InputError
from mlcalc.data.coarse_grain.residues import LETTERS, name_of_type, parse_mutation
from mlcalc.geometry.domain import pair_name
from mlcalc.model import Model


class Exchange(NamedTuple):
    """Residue ``place`` (from 0) becomes another: letters before and after."""

    place: int
    before: str
    after: str

    def __str__(self) -> str:
        return f"{self.before}{self.place + 1}{self.after}"

    @property
    def type(self) -> int:
        """That of the bead afterwards."""
        return LETTERS.index(self.after) + 1


class Mutated(NamedTuple):
    """Changes by each of k exchanges in n_frames frames of N residues, by one network; eV.

    Attributes:
        model, network: As in residues.ResidueRelevance; explained: what energies and relevances belong to.
        energy: (k, n_frames) of the network, without constants of the types; priors: likewise of all priors apart.
        orders: ΣR (k, n_frames) by number of residues on a walk.
        pairs: (k, n_frames, N, N) of the map of 2-body relevances.
        unseen: (k,) share of the bead's neighbours within the cutoff whose pair of types training never had, or not so near; NaN
            for a model that does not record distances.
    """

    model: str
    network: str
    explained: str
    energy: np.ndarray
    priors: np.ndarray
    orders: dict[str, np.ndarray]
    pairs: np.ndarray
    unseen: np.ndarray


def parse_exchange(text: str, chain: Chain) -> Exchange:
    """An exchange such as ``K12M`` of this chain; InputError for anything else, or one that its sequence contradicts."""
    before, number, after = parse_mutation(text)
    return _checked(Exchange(number - 1, before, after), chain)


def scan(letter: str, residues: Sequence[int] | None, chain: Chain) -> list[Exchange]:
    """Each of these residues (from 1) to one letter; None for all that differ from it and have no type of a free end."""
    if letter not in LETTERS or len(letter) != 1:
        raise InputError(f"--scan {letter[:20]!r}: expected one letter of {LETTERS}")
    if residues is None:
        residues = [k + 1 for k, own in enumerate(chain.sequence) if own != letter and _is_residue(chain, k)]
    n = len(chain.sequence)
    if wrong := [residue for residue in residues if not 1 <= residue <= n]:
        raise InputError(f"--residues {wrong[0]}: expected 1 to {n}, those of the chain")
    return [_checked(Exchange(residue - 1, chain.sequence[residue - 1], letter), chain) for residue in residues]


def _is_residue(chain: Chain, place: int) -> bool:
    """Whether the type of a bead is that of its residue, and not that of a free end."""
    return bool(chain.numbers[place] <= len(LETTERS))


def _checked(exchange: Exchange, chain: Chain) -> Exchange:
    place, before, after = exchange
    if not 0 <= place < len(chain.sequence):
        raise InputError(f"{exchange}: residue {place + 1}: expected 1 to {len(chain.sequence)}, those of the chain")
    if chain.sequence[place] != before:
        raise InputError(f"{exchange}: residue {place + 1} is {chain.sequence[place]} in the sequence, not {before}")
    if after == before:
        raise InputError(f"{exchange}: residue {place + 1} is {before} already: expected another")
    if not _is_residue(chain, place):
        end = name_of_type(int(chain.numbers[place]))
        raise InputError(f"{exchange}: bead {place + 1} has the type {end}, whatever its residue: no exchange to make")
    return exchange


def check_types_known(model: Model, name: str, exchanges: Sequence[Exchange]) -> None:
    """Raise InputError for a type that the network never saw in training: its embedding would be the random one of the start."""
    known = {int(z) for z in model.domain.get("elements", model.config.elements)} & set(model.config.elements)
    repulsion = model.priors.get("bead_repulsion")
    for exchange in exchanges:
        if exchange.type not in known:
            names = ", ".join(name_of_type(z) for z in sorted(known))
            raise InputError(
                f"{exchange}: the model {name} was never trained on the type {exchange.after}: it knows {names}"
            )
        if repulsion is not None and exchange.type not in repulsion.types:
            raise InputError(f"{exchange}: the repulsion of beads of the model {name} has no type {exchange.after}")


def mutate_chain(
    model: Model, name: str, chain: Chain, exchanges: Sequence[Exchange], gamma: float, rule: str | None = None,
    show: Callable[[], object] = lambda: None,
) -> Mutated:  # fmt: skip
    """Explain every frame as it is and with each exchange.

    Args:
        gamma, rule: As in analysis.relevance.trace.Rules; show: Called after each explanation.

    Raises:
        InputError: As in check_types_known and analysis.relevance.trace.trace.
    """
    check_types_known(model, name, exchanges)
    n = len(chain.sequence)

    def all_frames(numbers: np.ndarray) -> list[Explanation]:
        found = []
        for number, atoms in enumerate(chain.structures(numbers), start=1):
            found.append(_explained(model, name, atoms, (gamma, rule), f"{chain.source}, frame {number}"))
            show()
        return found

    own = all_frames(chain.numbers)
    energy, priors, pairs = [], [], []
    orders: dict[str, list] = {order: [] for order in own[0].by_order}
    for exchange in exchanges:
        mutant = list(zip(all_frames(_exchanged(chain.numbers, exchange)), own, strict=True))
        energy.append([new.trace.energy - old.trace.energy for new, old in mutant])
        priors.append([sum(new.trace.apart.values()) - sum(old.trace.apart.values()) for new, old in mutant])
        pairs.append([pair_map(new, n) - pair_map(old, n) for new, old in mutant])
        for order, values in orders.items():
            values.append([new.by_order[order] - old.by_order[order] for new, old in mutant])
    unseen = np.array([unseen_share(model, chain, exchange) for exchange in exchanges])
    return Mutated(
        name, architecture_of(model.config).title, explained_text(own[0].trace.apart), np.array(energy), np.array(priors),
        {order: np.array(values) for order, values in orders.items()}, np.array(pairs), unseen,
    )  # fmt: skip


def _explained(model: Model, name: str, atoms: Atoms, how: tuple, where: str) -> Explanation:
    gamma, rule = how
    try:
        return explain(model, atoms, gamma, with_triples=False, rule=rule)
    except InputError as error:
        raise InputError(f"{where} with the model {name}: {error}") from error


def _exchanged(numbers: np.ndarray, exchange: Exchange) -> np.ndarray:
    numbers = numbers.copy()
    numbers[exchange.place] = exchange.type
    return numbers


def unseen_share(model: Model, chain: Chain, exchange: Exchange) -> float:
    """As in Mutated, of one exchange."""
    smallest = model.domain.get("min_distances_A")
    if smallest is None:
        return np.nan
    others = np.arange(len(chain.sequence)) != exchange.place
    distances = chain.distances()[:, exchange.place, others]
    least = np.array([smallest.get(pair_name(exchange.type, z), np.inf) for z in chain.numbers[others].tolist()])
    near = distances < (model.config.cutoff or np.inf)
    return float((near & (distances < least)).sum() / near.sum()) if near.any() else np.nan
