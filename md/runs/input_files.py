"""The files that a run is made of, each read once, and the identity that follows from them."""

from typing import NamedTuple

from ase import Atoms

from md.dynamics.gle import read_gle_file
from md.potentials import Model, engine_name, read_model
from md.runs.config import RunSettings
from md.runs.identity import digests_of, identity
from md.runs.structures import as_extxyz, read_start


class Inputs(NamedTuple):
    """The files of a run, each read once.

    Attributes:
        model: The model; None for a run with an engine.
        committee: Models of the committee.
        atoms: The start, as stored in a run folder.
        contents: Bytes by key of the settings: ``model`` or ``engine``, ``gle_file``, ``committee[k]``, ``potential[k].model`` or
            ``potential[k].engine``, and the start as text, ``structure``.
        slow: Models of the slow components; None for those with an engine.
    """

    model: Model | None
    committee: list[Model]
    atoms: Atoms
    contents: dict[str, bytes]
    slow: tuple[Model | None, ...] = ()


def read_inputs(settings: RunSettings, quiet: bool = False) -> Inputs:
    """Models, structure and matrices of a run.

    Raises:
        InputError: A file is missing or malformed.
    """
    model, contents = None, {}
    if settings.engine:
        contents["engine"] = engine_name(settings.engine)
    else:
        model, contents["model"] = read_model(settings.model)
    if settings.gle_file:
        contents["gle_file"] = read_gle_file(settings.gle_file)
    committee = []
    for k, name in enumerate(settings.committee):
        member, contents[f"committee[{k}]"] = read_model(name)
        committee.append(member)
    slow: list[Model | None] = []
    for k, part in enumerate(settings.potential):
        if part.engine:
            slow.append(None)
            contents[f"potential[{k}].engine"] = engine_name(part.engine)
        else:
            found, contents[f"potential[{k}].model"] = read_model(part.model)
            slow.append(found)
    atoms = read_start(settings.structure, model, quiet, settings.momenta)
    contents["structure"] = as_extxyz(atoms).encode()
    return Inputs(model, committee, atoms, contents, tuple(slow))


def identity_of(settings: RunSettings, kind: str) -> dict:
    """The identity of one run, from its files; InputError as read_inputs."""
    return identity(settings, kind, digests_of(read_inputs(settings, quiet=True).contents))
