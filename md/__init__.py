"""Ring-polymer molecular dynamics: state, laws, loop, run folder."""

from mlcalc.common.packages import keep_old_paths

# Import paths that the documentation of version 0.1 gave.
keep_old_paths(
    __name__,
    {
        "clamped": "dynamics.clamped",
        "config": "runs.config",
        "endings": "guards.endings",
        "estimators": "observables.estimators",
        "frames": "runs.frames",
        "integrators": "dynamics.integrators",
        "normal_modes": "dynamics.normal_modes",
        "overview": "runs.overview",
        "ring_polymer": "dynamics.ring_polymer",
        "statistics": "observables.statistics",
        "thermostats": "dynamics.thermostats",
    },
)
