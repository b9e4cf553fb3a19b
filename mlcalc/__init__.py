"""Neural-network potentials: definitions, training, model files, ASE calculators.

Importing this package loads neither torch nor numba; the public names load what they need on first use.
"""

from mlcalc.common.packages import keep_old_paths, lazy_names

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "NetworkCalculator": "calculator",
        "SchNetCalculator": "calculator",
        "CommitteeCalculator": "committee",
        "InputError": "common.errors",
        "Model": "model",
        "load_model": "model_file",
        "save_model": "model_file",
    },
)

# Paths of version 0.1 that documents named.
keep_old_paths(
    __name__,
    {
        "all_atom": "data.coarse_grain.all_atom",
        "angular": "priors.angular",
        "electronic_state": "structures.electronic_state",
        "energy_zero": "training.energy_zero",
        "errors": "common.errors",
        "evaluation": "training.evaluation",
        "force_noise": "data.coarse_grain.force_noise",
        "kernel": "architectures.schnet.kernel",
        "labelling": "data.labelling",
        "labels": "structures.labels",
        "liquid": "data.coarse_grain.liquid",
        "minimum_image": "geometry.minimum_image",
        "relaxation": "data.relaxation",
        "sampling": "data.sampling",
        "schnet": "architectures.schnet.network",
        "structure_files": "structures.structure_files",
        "training_domain": "training.domain",
        "training_settings": "training.settings",
    },
)
