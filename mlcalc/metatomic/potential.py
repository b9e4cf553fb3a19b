"""The module that metatomic compiles: systems with their neighbour lists to energies, in metatomic's own types."""
# ruff: noqa: UP006, UP035, UP045  metatomic compares the annotations of forward with those of typing

from typing import Dict, List, Optional

import metatensor.torch as mts
import numpy as np
import torch
from metatensor.torch import Labels, TensorBlock, TensorMap
from metatomic.torch import ModelOutput, NeighborListOptions, System
from torch import Tensor, nn

from mlcalc.geometry.domain import pair_limits
from mlcalc.model import Model
from mlcalc.priors.repulsion import ZBL_COEFFICIENTS, ZBL_EXPONENTS, Repulsion, screening_length, zbl_prefactor


class NuclearRepulsion(nn.Module):
    """mlcalc/priors/repulsion.py, with a table of its constants by pair of elements; float64."""

    prefactor: Tensor
    length: Tensor
    coefficients: Tensor
    exponents: Tensor

    def __init__(self, prior: Repulsion, elements: tuple[int, ...]):
        super().__init__()
        z_i, z_j = np.meshgrid(*[np.array(elements, dtype=float)] * 2, indexing="ij")
        self.cutoff = float(prior.cutoff)
        self.register_buffer("prefactor", torch.as_tensor(zbl_prefactor(z_i, z_j)))
        self.register_buffer("length", torch.as_tensor(screening_length(z_i, z_j)))
        self.register_buffer("coefficients", torch.tensor(ZBL_COEFFICIENTS, dtype=torch.float64))
        self.register_buffer("exponents", torch.tensor(ZBL_EXPONENTS, dtype=torch.float64))

    def forward(self, species: Tensor, first: Tensor, second: Tensor, distance: Tensor) -> Tensor:
        """Energies of atoms (N,) eV: half of each pair for its first atom, since each pair is there from both atoms."""
        i, j = species[first], species[second]
        u = torch.clamp(2.0 * distance / self.cutoff - 1.0, 0.0, 1.0)
        switch = 1.0 - u**3 * (10.0 - 15.0 * u + 6.0 * u**2)
        ratio = distance / self.length[i, j]
        screening = (self.coefficients * torch.exp(-self.exponents * ratio[:, None])).sum(1)
        pairs = self.prefactor[i, j] / distance * screening * switch
        return torch.zeros(len(species), dtype=distance.dtype, device=distance.device).index_add(0, first, 0.5 * pairs)


class Potential(nn.Module):
    """A network with its priors and constants: metatomic's ModelInterface.

    Positions, distances, priors and sums are float64; the network has the precision of its weights. Å and eV.

    Args:
        model: With a cutoff.
        network: One of networks.py with the weights of the model.
    """

    rows: Tensor
    limits: Tensor
    energy_scale: Tensor
    energy_shift: Tensor

    def __init__(self, model: Model, network: nn.Module):
        super().__init__()
        elements = model.config.elements
        rows = torch.full((max(elements) + 1,), -1)
        rows[list(elements)] = torch.arange(len(elements))
        self.register_buffer("rows", rows)  # atomic number to row of the embedding
        self.register_buffer("limits", torch.tensor(pair_limits(model.domain, elements)))
        for name in ("energy_scale", "energy_shift"):
            self.register_buffer(name, torch.as_tensor(np.asarray(model.weights[name], dtype=np.float64)))
        self.network = network
        self.dtype = next(network.parameters()).dtype
        self.priors = nn.ModuleList([NuclearRepulsion(prior, elements) for prior in model.priors.values()])
        self.pairs = NeighborListOptions(cutoff=float(model.config.cutoff), full_list=True, strict=True)

    def requested_neighbor_lists(self) -> List[NeighborListOptions]:
        """The one list that the engine makes: all pairs within the cutoff, each from both of its atoms."""
        return [self.pairs]

    def forward(
        self, systems: List[System], outputs: Dict[str, ModelOutput], selected_atoms: Optional[Labels]
    ) -> Dict[str, TensorMap]:
        """Energies of systems or of their atoms, see metatomic.torch.ModelInterface."""
        results: Dict[str, TensorMap] = {}
        if "energy" not in outputs or len(systems) == 0:
            return results
        device = systems[0].positions.device
        species: List[Tensor] = []
        first: List[Tensor] = []
        second: List[Tensor] = []
        vectors: List[Tensor] = []
        samples: List[Tensor] = []
        offsets: List[int] = []
        n_atoms = 0
        for k, system in enumerate(systems):
            neighbours = system.get_neighbor_list(self.pairs)
            atoms = neighbours.samples.values[:, :2].to(torch.int64) + n_atoms
            first.append(atoms[:, 0])
            second.append(atoms[:, 1])
            vectors.append(neighbours.values.reshape(-1, 3))
            species.append(self.rows[system.types.to(torch.int64)])
            own = torch.arange(len(system), dtype=torch.int32, device=device)
            samples.append(torch.stack([torch.full_like(own, k), own], dim=1))
            offsets.append(n_atoms)
            n_atoms += len(system)
        energies = self.atomic_energies(torch.cat(species), torch.cat(first), torch.cat(second), torch.cat(vectors))
        atom_samples = Labels(["system", "atom"], torch.cat(samples))
        if selected_atoms is not None:
            chosen = selected_atoms.values.to(torch.int64)
            atom_samples = selected_atoms
            energies = energies[torch.tensor(offsets, device=device)[chosen[:, 0]] + chosen[:, 1]]
        zero = torch.zeros(1, 1, dtype=torch.int32, device=device)
        block = TensorBlock(
            energies[:, None], atom_samples, torch.jit.annotate(List[Labels], []), Labels("energy", zero)
        )
        by_atom = TensorMap(Labels("_", zero), [block])
        if outputs["energy"].sample_kind == "atom":
            results["energy"] = by_atom
        else:
            results["energy"] = mts.sum_over_samples(by_atom, ["atom"])
        return results

    def atomic_energies(self, species: Tensor, first: Tensor, second: Tensor, vectors: Tensor) -> Tensor:
        """Energies of atoms (N,) eV from rows of their elements, and pairs (n,) with vectors (n, 3) Å.

        Raises:
            torch.jit.Error: Atoms nearer to each other than the model allows (RuntimeError where it is not compiled).
        """
        distance = torch.linalg.vector_norm(vectors, dim=1)
        near = distance.detach() < self.limits[species[first], species[second]]
        if bool(near.any()):
            i, j = int(first[near][0]), int(second[near][0])
            apart, allowed = float(distance[near][0]), float(self.limits[species[i], species[j]])
            raise RuntimeError(
                f"atoms {i} and {j} are {apart} Å apart, closer than anything this model was trained on (allowed from {allowed} Å)"
            )
        unit = vectors / distance[:, None]
        of_network = self.network(species, first, second, distance.to(self.dtype), unit.to(self.dtype))
        energies = self.energy_scale * of_network.to(torch.float64) + self.energy_shift[species]
        for prior in self.priors:
            energies = energies + prior(species, first, second, distance)
        return energies
