"""Training keys, and the split into frames for training, validation and testing."""

import math
from dataclasses import dataclass
from typing import Any, get_type_hints

import numpy as np

from mlcalc.architectures import ARCHITECTURES
from mlcalc.common.errors import InputError
from mlcalc.common.settings import check_choice, check_range
from mlcalc.outputs import OF_READOUTS, Scalar, scalar_of
from mlcalc.priors import AngularPrior, Repulsion
from mlcalc.readouts import READOUTS, outputs_of
from mlcalc.structures.labels import LabelNames
from mlcalc.structures.unit_names import ENERGY_UNITS

# Those of a configuration by the same names; not every architecture has all of them.
_NETWORK_KEYS = (
    "n_features", "n_interactions", "n_rbf", "lmax", "n_factors", "shared_weights", "activation", "n_angular",
    "norm_epsilon",
)  # fmt: skip
_HUBER = 1e-6, 1e6  # least and largest threshold: their squares are float32
_MOST_HELD_OUT = 1 / 3  # of the frames, where the groups are so few that the fractions cannot be met


@dataclass(frozen=True)
class TrainingSettings:
    """Keys of a training TOML.

    Attributes:
        data: Files of structures with labels, extended XYZ or any format that ASE reads.
        energy_key, forces_key: Names of energies and forces in these files and those of test_data, where they are not ``energy``
            (or ``free_energy``) and ``forces``: one for all, or a list with one for each, data first, "" for the default.
        energy_only: Whether structures may have an energy and no forces (those of one atom always may).
        energy_zeros: ``"one"`` zero of energy for all frames, which then have to be of one ``engine``; ``"engine"``: one for each;
            ``"file"``: one for each file; ``"shared"``: one, whatever engines the frames name. The first sets the network's zero.
        energy_unit: Unit of their energies, forces in that per Å; "" for the one a file states, or eV. One for all, or a list.
        repeat: How often the frames of each file appear in an epoch.
        architecture: A name in mlcalc.architectures.ARCHITECTURES.
        n_features … cutoff_A: Its configuration; readout_hidden: 0 for half of n_features.
        lmax: Largest degree of the spherical harmonics of an SO3net; without it that of its configuration.
        n_factors, shared_weights, activation: Of a DTNN, see mlcalc/architectures/dtnn/config.py; likewise.
        n_angular, activation: Of a wACSF network, which has no n_interactions, see mlcalc/architectures/wacsf/config.py; likewise.
        norm_epsilon: Of a PaiNN, see mlcalc/architectures/painn/config.py; without it SchNetPack's.
        angle_strength_eV … angle_cutoff_A: Angular prior, see mlcalc/priors/angular.py; all or none.
        repulsion_cutoff_A: ``"auto"`` for molecules with energies is the smallest distance that the model accepts, so that the
            repulsion acts only below it, otherwise none; 0 or ``"none"`` for none. A training that is resumed, or starts
            from another model, keeps that one's cutoff.
        priors_file: File of priors beside the TOML file, as ``mlcalc priors`` writes it, added to the energy; "" for none.
        optimizer: ``"muon"`` (mlcalc/training/muon.py) for the weight matrices and AdamW for the rest, or ``"adamw"`` for all.
        energy_weight: ρ in eV⁻² per (eV/Å)⁻².
        readouts: What the network says beside the energy, names in mlcalc.readouts.READOUTS.
        charges_weight … scalar_weight: Of their outputs in the loss, per squared unit (mlcalc/outputs.py).
        scalar_key: Label of the readout ``"scalar"``, a number in each structure's ``info`` under a name that ends in its unit.
        only_readouts: Whether the weights of a model to start from stay as they are, and only its readouts are learnt.
        force_huber_eV_per_A, energy_huber_eV: Beyond this deviation |ΔF| of an atom or |ΔE| of a structure the loss grows
            linearly, so that a few structures of many eV/Å do not rule it; 0 for squares throughout.
        weight_key: Name in the comment line under which each structure of data gives its weight in the loss; "" for equal weights.
        ema_decay: Decay of the moving average of the weights, which is validated and saved.
        test_data: Files of unseen trajectories; the final model's errors on them go into its metadata.
        split: ``"trajectory"`` keeps frames that share ``info["trajectory"]`` together; ``"random"`` does not.
        patience: Validations without progress before training stops.
        keep: Which weights end up in the model file: ``"best"`` by validation, or ``"last"``, for data with a few outliers
            that would bias the choice (the learning rate has decayed by then anyway).
        compile: Whether torch compiles the loss. Batches of frames that are periodic or differ in size are padded to one of a few
            shapes, each compiled once (mlcalc/training/padding.py).
        threads: CPU threads of torch; device: ``"auto"`` takes CUDA when present.
    """

    data: tuple[str, ...]
    repeat: tuple[int, ...] = ()
    test_data: tuple[str, ...] = ()
    energy_key: str | tuple[str, ...] = ""
    forces_key: str | tuple[str, ...] = ""
    energy_unit: str | tuple[str, ...] = ""
    energy_only: bool = False
    energy_zeros: str = "one"
    architecture: str = "schnet"
    n_features: int = 64
    n_interactions: int = 3
    n_rbf: int = 32
    readout_hidden: int = 0
    cutoff_A: float = 6.0
    lmax: int | None = None
    n_factors: int | None = None
    shared_weights: bool | None = None
    activation: str | None = None
    n_angular: int | None = None
    norm_epsilon: float | None = None
    repulsion_cutoff_A: float | str = "auto"
    angle_strength_eV: float | None = None
    angle_cosine: float | None = None
    angle_decay_A: float | None = None
    angle_cutoff_A: float | None = None
    priors_file: str = ""
    precision: str = "float32"
    batch_size: int = 8
    steps: int = 100_000
    optimizer: str = "muon"
    learning_rate: float = 1e-3
    warmup_steps: int = 500
    weight_decay: float = 0.0
    energy_weight: float = 0.05
    readouts: tuple[str, ...] = ()
    charges_weight: float = 0.0
    dipole_weight: float = 0.0
    dipole_moment_weight: float = 0.0
    polarizability_weight: float = 0.0
    scalar_weight: float = 0.0
    scalar_key: str = ""
    only_readouts: bool = False
    force_huber_eV_per_A: float = 0.0
    energy_huber_eV: float = 0.0
    weight_key: str = ""
    gradient_clip: float = 10.0
    ema_decay: float = 0.999
    split: str = "trajectory"
    validation_fraction: float = 0.05
    test_fraction: float = 0.05
    validation_every_steps: int = 2000
    patience: int = 50
    keep: str = "best"
    seed: int = 0
    compile: bool = True
    threads: int = 1
    device: str = "auto"

    def __post_init__(self):
        if not self.data:
            raise InputError("data = []: expected at least one extxyz file")
        if self.repeat and (len(self.repeat) != len(self.data) or min(self.repeat) < 1):
            raise InputError(
                f"repeat = {list(self.repeat)}: expected one whole number of at least 1 for each data file"
            )
        n_files = len(self.data) + len(self.test_data)
        for name in ("energy_key", "forces_key", "energy_unit"):
            value = getattr(self, name)
            if not isinstance(value, str) and len(value) != n_files:
                raise InputError(f"{name} = {list(value)}: expected one text, or one for each of the {n_files} files")
        for unit in {names.unit for names in self.label_names} - {""}:
            check_choice("energy_unit", unit, ENERGY_UNITS)
        for name in ("batch_size", "steps", "validation_every_steps", "patience", "threads"):
            check_range(name, getattr(self, name), 1)
        for name in ("learning_rate", "gradient_clip"):
            check_range(name, getattr(self, name), 0.0, open_low=True)
        for name in ("force_huber_eV_per_A", "energy_huber_eV"):
            if getattr(self, name):
                check_range(name, getattr(self, name), *_HUBER)
        if self.energy_huber_eV and not self.energy_weight:
            raise InputError(
                f"energy_huber_eV = {self.energy_huber_eV:g} beside energy_weight = 0: energies are not learnt; leave it out"
            )
        for name in ("energy_weight", "weight_decay", "warmup_steps", "seed", *map("{}_weight".format, OF_READOUTS)):
            check_range(name, getattr(self, name), 0)
        for name in ("ema_decay", "test_fraction"):
            check_range(name, getattr(self, name), 0.0, 0.99999)
        # Validation decides which of the moving averages is kept.
        check_range("validation_fraction", self.validation_fraction, 0.0, 0.99999, open_low=True)
        check_choice("energy_zeros", self.energy_zeros, ("one", "engine", "file", "shared"))
        check_choice("architecture", self.architecture, ARCHITECTURES)
        known = get_type_hints(ARCHITECTURES[self.architecture].config)
        for name in _NETWORK_KEYS:
            if (value := getattr(self, name)) != getattr(TrainingSettings, name) and name not in known:
                raise InputError(
                    f"{name} = {value!r} beside architecture = {self.architecture!r}, which has none; leave it out"
                )
        check_range("readout_hidden", self.readout_hidden, 0)
        angle = self._angle
        if None in angle and any(value is not None for value in angle):
            raise InputError(
                f"angle_strength_eV, angle_cosine, angle_decay_A, angle_cutoff_A = {angle}: expected all four, or none"
            )
        if isinstance(self.repulsion_cutoff_A, str):
            check_choice("repulsion_cutoff_A", self.repulsion_cutoff_A, ("auto", "none"))
        else:
            check_range("repulsion_cutoff_A", self.repulsion_cutoff_A, 0.0)
        self._check_readouts()
        check_choice("keep", self.keep, ("best", "last"))
        check_choice("optimizer", self.optimizer, ("muon", "adamw"))
        check_choice("precision", self.precision, ("float32", "float64"))
        check_choice("split", self.split, ("trajectory", "random"))
        check_choice("device", self.device, ("auto", "cpu", "cuda"))

    def _check_readouts(self) -> None:
        """Raise InputError for readouts that learn nothing, and for weights of outputs that no readout gives."""
        for name in self.readouts:
            check_choice("readouts", name, READOUTS)
            outputs = READOUTS[name].outputs
            if not any(output in self.readout_weights for output in outputs):
                keys = " or ".join(f"{output}_weight" for output in outputs)
                raise InputError(f"readouts = {list(self.readouts)}: {name} learns nothing; set {keys}")
        given = outputs_of(self.readouts)
        for name in self.readout_weights:
            if name not in given:
                able = " or ".join(readout for readout, row in READOUTS.items() if name in row.outputs)
                raise InputError(f"{name}_weight without a readout of it: add {able} to readouts")
        if bool(self.scalar) != ("scalar" in self.readouts):
            hint = "add scalar to readouts" if self.scalar else "name the label of scalar, as ZPVE_eV"
            raise InputError(f"scalar_key = {self.scalar_key!r} beside readouts = {list(self.readouts)}: {hint}")
        if self.only_readouts and not self.readouts:
            raise InputError("only_readouts = true without readouts: nothing is left to learn; set readouts")

    @property
    def readout_weights(self) -> dict[str, float]:
        """Weights in the loss of the outputs of readouts that have one, by output."""
        weights = {name: getattr(self, f"{name}_weight") for name in OF_READOUTS}
        return {name: weight for name, weight in weights.items() if weight}

    @property
    def scalar(self) -> Scalar | None:
        """What the readout of this name learns; None without one."""
        return scalar_of(self.scalar_key) if self.scalar_key else None

    @property
    def label_names(self) -> list[LabelNames]:
        """Where the labels of each file are, those of data first."""
        n_files = len(self.data) + len(self.test_data)
        keys = self.energy_key, self.forces_key, self.energy_unit, self.scalar_key
        lists = ((x,) * n_files if isinstance(x, str) else x for x in keys)
        return [LabelNames(*names) for names in zip(*lists, strict=True)]

    @property
    def _angle(self) -> tuple:
        return self.angle_strength_eV, self.angle_cosine, self.angle_decay_A, self.angle_cutoff_A

    def network_config(self, elements) -> Any:
        """The configuration of the architecture for these elements."""
        config = ARCHITECTURES[self.architecture].config
        given = [name for name in _NETWORK_KEYS if getattr(self, name) is not None and name in get_type_hints(config)]
        values = {name: getattr(self, name) for name in given}
        hidden = self.readout_hidden or max(self.n_features // 2, 1)
        return config(elements=tuple(elements), cutoff=self.cutoff_A, readout_hidden=hidden, **values)

    def priors(self, automatic_A: float | None = None) -> dict[str, Any]:
        """The priors of the network by name, with this cutoff (Å) of the repulsion where it is ``"auto"``."""
        repulsion = self.repulsion_cutoff_A
        cutoff = automatic_A if repulsion == "auto" else float(0 if repulsion == "none" else repulsion)
        priors: dict[str, Any] = {"repulsion": Repulsion(cutoff)} if cutoff else {}
        return priors if None in self._angle else priors | {"angular": AngularPrior(*self._angle)}


@dataclass(frozen=True)
class Split:
    """Frame indices of the three parts."""

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray

    def describe(self, dataset, by: str) -> str:
        """How many frames are in each part, in one line."""
        parts = {"to train on": self.train, "for validation": self.validation, "for testing": self.test}
        text = "frames: " + ", ".join(f"{len(frames)} {what}" for what, frames in parts.items())
        groups = [len(np.unique(dataset.trajectories[frames])) for frames in parts.values()]
        return text + (f" ({', '.join(map(str, groups))} trajectories)" if by == "trajectory" else "")


def split_frames(dataset, settings: TrainingSettings) -> Split:
    """Split the frames at random, by trajectories or one by one.

    Raises:
        InputError: Nothing is left to train on, or over a third of the frames is held out, because there are few trajectories.
    """
    rng = np.random.default_rng(settings.seed)
    keys = dataset.trajectories if settings.split == "trajectory" else np.arange(len(dataset))
    groups = rng.permutation(np.unique(keys))
    n_test = math.ceil(settings.test_fraction * len(groups))
    n_validation = math.ceil(settings.validation_fraction * len(groups))
    hint = "use split = 'random' or other fractions"
    if len(groups) <= n_test + n_validation:
        raise InputError(
            f"{len(groups)} {settings.split} group(s) of {len(dataset)} frames leave nothing to train on besides "
            f"{n_validation} for validation and {n_test} for testing; {hint}"
        )
    test, validation, train = np.split(groups, [n_test, n_test + n_validation])
    split = Split(*(np.flatnonzero(np.isin(keys, part)) for part in (train, validation, test)))
    asked = settings.validation_fraction + settings.test_fraction
    if 1.0 - len(split.train) / len(dataset) > max(_MOST_HELD_OUT, 1.5 * asked):
        raise InputError(
            f"{len(split.validation)} of {len(dataset)} frames for validation and {len(split.test)} for testing, where "
            f"{asked:.0%} were requested: there are only {len(groups)} {settings.split} groups; {hint}"
        )
    return split
