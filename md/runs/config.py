"""The input of a run: a flat TOML table with units in the keys, overrides from the command line, all validated."""

import math
import os
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from md.bias.settings import BiasSettings, hills_of
from md.components.settings import PotentialSettings, check_components
from md.dynamics.settings import QUANTUM_BATH
from md.runs.ensembles import BAROSTAT_NAMES, check_barostat, check_quantum_bath
from mlcalc.common.errors import InputError
from mlcalc.common.settings import build_settings, check_choice, check_range, read_toml, toml_value
from mlcalc.common.settings import describe_keys as describe

INTEGRATOR_NAMES = ("OBABO", "BAOAB", "BCOCB")
THERMOSTAT_NAMES = ("PILE-L", "PILE-G", "T-RPMD", "centroid", "GLE", QUANTUM_BATH, "none")
DEFAULT_MODEL = "c20"
NOT_CANONICAL = ("T-RPMD", QUANTUM_BATH, "none")


@dataclass(frozen=True)
class RunSettings:
    """Keys of a run's TOML.

    Attributes:
        structure: Start geometry (any format ASE reads), relative to the TOML; Å.
        model: Shipped model name or path of a model file, relative to the TOML, or to the current folder if there is none; c20 if
            neither it nor an engine is given.
        engine: In place of a model, an engine such as tblite:GFN2-xTB (mlcalc/data/engines.py; its files are relative to the
            current folder), or python:NAME for a potential that Python hands over (md/runs/start.py).
        beads: Number of replicas P, or a list: each P then gets its own sub-folder.
        output: Folder to write, relative to the current folder.
        temperature_K, timestep_fs: T and Δt.
        steps: Time steps of production; equilibration_steps come before and are not recorded.
        seed: Seed of the random numbers; the same seed gives the same bits.
        integrator, thermostat: Names, see md/dynamics/integrators.py and md/dynamics/thermostats.py.
        centroid_time_fs: Relaxation time τ₀ of the centroid's momenta.
        barostat: none; isotropic: the cell scales; orthorhombic: its lengths along x, y and z change each by itself
            (md/dynamics/barostats.py). Volume and pressure are recorded.
        pressure_GPa: External pressure of the barostat.
        barostat_time_fs: τ of the barostat, which sets its inertia and friction.
        bath_segment_fs, bath_adaptation_ps: Of the thermostat adQTB (md/dynamics/quantum_bath.py): length of the segments of which
            it takes spectra, and memory of what it learns from them; 0 for none, the plain quantum thermal bath.
        friction_scale: λ; internal modes feel the friction 2λω_k (T-RPMD: λω_k).
        gle_file: Matrices of the thermostat GLE, raw format of gle4md.org (md/dynamics/gle.py), relative to the TOML.
        momenta: Of the start. thermal: drawn at the temperature; structure: centroids have the momenta of the structure, internal
            modes are thermal.
        remove_com: Hold the centre of mass at rest; false where a constraint of the structure (FixAtoms) holds atoms.
        remove_rotation: Hold the angular momentum of a molecule at zero.
        precision: Arithmetic of the network, float32 or float64; positions and momenta are float64 always.
        backend: numba (compiled kernel) or torch.
        threads: Threads of the numba backend, or worker processes of the engine; 0 takes all.
        heat_capacity: Record the heat capacity: two more evaluations of the network at every record.
        pressure: Record the pressure of a structure that is periodic in all three directions: one more evaluation at every record.
        per_atom: Record kinetic energy, radius of gyration and isotope derivative of every atom with every frame.
        properties_every_steps, trajectory_every_steps: Intervals of recording.
        checkpoint_every_steps: Interval between the states that 'rpmd resume' starts from.
        potential: Slow components that are added to the model or engine, one ``[[potential]]`` table each
            (md/components/settings.py): at every M-th step, on P′ of the beads.
        bias: Potentials on collective variables, one ``[[bias]]`` table each (md/bias/settings.py).
        committee: Further models (paths as for model), evaluated at every record to record their disagreement on forces.
        max_disagreement_eV_A: A run stops if its committee disagrees more on any bead of an atom; 0 to only record.
        domain_guard: Action if atoms come closer than the model is reliable: stop, warn or record.
        energy_guard: Action if a bead of a molecule lies below the minimum that its start relaxes to: stop, warn, record or
            off (reason and margin: md/guards/limits.py).
        bond_guard: Action if bonds differ from those of the start: stop, warn, record or off (md/guards/bonds.py).
        max_force_eV_A: A run stops at a larger force on any bead.
        max_temperature_K, max_gyration_A: Likewise for temperature and width of an atom's ring polymer; 0 for the
            defaults of md/guards/limits.py.
        trajectories, trajectories_at_once: For 'rpmd real-time': number of trajectories, each of ``steps`` after a thermalisation
            of ``equilibration_steps``, and how many of them move as one batch.
        velocities_every_steps: Recording interval of 'rpmd real-time'.
        dipoles: Record the molecule's dipole with the velocities of 'rpmd real-time'; the model needs a readout of it.
    """

    structure: str
    model: str = ""
    engine: str = ""
    beads: int | tuple[int, ...] = 1
    output: str = "run"
    temperature_K: float = 300.0
    timestep_fs: float = 0.5
    steps: int = 1000
    equilibration_steps: int = 0
    seed: int = 0
    integrator: str = "OBABO"
    thermostat: str = "PILE-L"
    centroid_time_fs: float = 100.0
    friction_scale: float = 1.0
    gle_file: str = ""
    barostat: str = "none"
    pressure_GPa: float = 0.0
    barostat_time_fs: float = 1000.0
    bath_segment_fs: float = 1000.0
    bath_adaptation_ps: float = 20.0
    momenta: str = "thermal"
    remove_com: bool = True
    remove_rotation: bool = False
    precision: str = "float32"
    backend: str = "numba"
    threads: int = 0
    heat_capacity: bool = False
    pressure: bool = False
    per_atom: bool = False
    properties_every_steps: int = 10
    trajectory_every_steps: int = 20
    checkpoint_every_steps: int = 10_000
    potential: tuple[PotentialSettings, ...] = ()
    bias: tuple[BiasSettings, ...] = ()
    committee: tuple[str, ...] = ()
    max_disagreement_eV_A: float = 0.0
    domain_guard: str = "stop"
    energy_guard: str = "stop"
    bond_guard: str = "warn"
    max_force_eV_A: float = 200.0
    max_temperature_K: float = 0.0
    max_gyration_A: float = 0.0
    trajectories: int = 64
    trajectories_at_once: int = 16
    velocities_every_steps: int = 4
    dipoles: bool = False

    def __post_init__(self):
        self._choose_potential()
        for n_beads in self.bead_counts:
            check_range("beads", n_beads, 1, 1024)
        if not self.bead_counts or len(set(self.bead_counts)) < len(self.bead_counts):
            raise InputError(f"beads = {list(self.bead_counts)}: expected different numbers, at least one")
        limits_above_0 = {
            "temperature_K": 1e5,
            "centroid_time_fs": 1e9,
            "barostat_time_fs": 1e9,
            "friction_scale": 100.0,
        }
        for name, high in limits_above_0.items():
            check_range(name, getattr(self, name), 0, high, open_low=True)
        check_range("bath_segment_fs", self.bath_segment_fs, 10.0, 1e6)
        check_range("bath_adaptation_ps", self.bath_adaptation_ps, 0, 1e9)
        check_range("pressure_GPa", self.pressure_GPa, -1000.0, 1000.0)
        check_range("timestep_fs", self.timestep_fs, 0, 20.0)
        check_range("max_force_eV_A", self.max_force_eV_A, 0, open_low=True)
        limits = ("max_temperature_K", "max_gyration_A", "max_disagreement_eV_A")
        for name in ("steps", "equilibration_steps", "seed", "threads", *limits):
            check_range(name, getattr(self, name), 0)
        intervals = [f.name for f in fields(self) if f.name.endswith("_every_steps")]
        for name in (*intervals, "trajectories", "trajectories_at_once"):
            check_range(name, getattr(self, name), 1)
        check_choice("integrator", self.integrator, INTEGRATOR_NAMES)
        check_choice("thermostat", self.thermostat, THERMOSTAT_NAMES)
        check_choice("barostat", self.barostat, BAROSTAT_NAMES)
        check_choice("momenta", self.momenta, ("thermal", "structure"))
        check_choice("precision", self.precision, ("float32", "float64"))
        check_choice("backend", self.backend, ("numba", "torch"))
        check_choice("domain_guard", self.domain_guard, ("stop", "warn", "record"))
        for name in ("energy_guard", "bond_guard"):
            check_choice(name, getattr(self, name), ("stop", "warn", "record", "off"))
        if (self.thermostat == "GLE") != bool(self.gle_file):
            raise InputError(
                f"thermostat = {self.thermostat!r} with gle_file = {self.gle_file!r}: GLE needs one; other thermostats take none"
            )
        if self.max_disagreement_eV_A and not self.committee:
            raise InputError(
                f"max_disagreement_eV_A = {self.max_disagreement_eV_A:g} needs a committee: give its models"
            )
        hills_of(self.bias)
        check_barostat(self)
        check_quantum_bath(self)
        check_components(self)
        for key in ("heat_capacity", "pressure"):
            if self.bias and getattr(self, key):
                raise InputError(
                    f"{key} = true with a bias: its estimator is that of the unbiased ensemble; leave one out"
                )
        if self.heat_capacity and self.thermostat in NOT_CANONICAL:
            raise InputError(
                f"heat_capacity with thermostat = {self.thermostat!r}: its fluctuations are not those of the canonical ensemble; "
                f"expected one of {', '.join(name for name in THERMOSTAT_NAMES if name not in NOT_CANONICAL)}"
            )

    def _choose_potential(self) -> None:
        """Exactly one of model and engine; what an engine does not give is refused."""
        if not self.engine:
            object.__setattr__(self, "model", self.model or DEFAULT_MODEL)
            return
        if self.model:
            raise InputError(f"model = {self.model!r} and engine = {self.engine!r}: expected one of them")
        for key, lacking in (("pressure", "virials"), ("dipoles", "dipoles")):
            if getattr(self, key):
                raise InputError(
                    f"{key} = true with engine = {self.engine!r}: no {lacking} are taken from engines; leave it out"
                )

    @property
    def has_barostat(self) -> bool:
        """Whether the cell moves."""
        return self.barostat != "none"

    @property
    def has_network(self) -> bool:
        """Whether a network is among what moves the atoms."""
        return not self.engine or any(part.model for part in self.potential)

    @property
    def engines(self) -> list[str]:
        """All engines."""
        return [engine for engine in (self.engine, *(part.engine for part in self.potential)) if engine]

    @property
    def bead_counts(self) -> tuple[int, ...]:
        """All requested P."""
        return (self.beads,) if isinstance(self.beads, int) else self.beads

    @property
    def n_beads(self) -> int:
        """P of the settings of one run, as returned by for_beads."""
        (n_beads,) = self.bead_counts
        return n_beads

    @property
    def sample_every_steps(self) -> int:
        """Steps between the samples of a run, at which something is recorded or a hill added."""
        hills = hills_of(self.bias)
        recorded = math.gcd(self.properties_every_steps, self.trajectory_every_steps)
        return math.gcd(recorded, hills.every_steps) if hills else recorded

    def for_beads(self, n_beads: int) -> "RunSettings":
        """The settings of the run with only this P."""
        return replace(self, beads=n_beads)


def read_settings(path: str | Path, overrides: dict[str, Any]) -> RunSettings:
    """Settings from a TOML file and overrides of its keys.

    Raises:
        InputError: Missing or malformed file, unknown key (the message names the nearest), value out of range, model and engine.
    """
    path = Path(path)
    values = read_toml(path) | overrides
    for key in ("structure", "gle_file"):
        if key not in overrides and isinstance(values.get(key), str) and values[key]:
            values[key] = str(path.parent / values[key])
    for one, other in (("model", "engine"), ("engine", "model")):
        if overrides.get(one) and other not in overrides:  # the command line names another potential than the file
            values.pop(other, None)
    if "model" not in overrides and "model" in values:
        values["model"] = _beside(path, values["model"])
    if "committee" not in overrides and isinstance(values.get("committee"), list):
        values["committee"] = [_beside(path, name) for name in values["committee"]]
    if "potential" not in overrides and isinstance(values.get("potential"), list):
        values["potential"] = [
            table | {"model": _beside(path, table["model"])} if isinstance(table, dict) and "model" in table else table
            for table in values["potential"]
        ]
    return build_settings(RunSettings, values, path)


def _beside(path: Path, model: Any) -> Any:
    """The path of a model file that lies where a TOML says, seen from the TOML; anything else as it is."""
    if isinstance(model, str) and os.path.isfile(path.parent / model):
        return str(path.parent / model)
    return model


def describe_keys() -> str:
    """One line per key with its default, for ``--help``."""
    known = {f.name: f.default for f in fields(RunSettings) if f.name != "structure"} | {"model": DEFAULT_MODEL}
    lines = [f"  {name} = {toml_value(default)}" for name, default in known.items()]
    return "\n".join([*lines, "\nkeys of a [[potential]] table, a slow component:", describe(PotentialSettings)])
