"""SchNet potentials: definition, training, model files, ASE calculator.

Importing this package loads neither torch nor numba; the public names load what they need on first use.
"""

from importlib import import_module

_PUBLIC = {
    "SchNetCalculator": "mlcalc.calculator",
    "CommitteeCalculator": "mlcalc.committee",
    "InputError": "mlcalc.errors",
    "Model": "mlcalc.model_file",
    "load_model": "mlcalc.model_file",
    "save_model": "mlcalc.model_file",
}
__all__ = sorted(_PUBLIC)


def __getattr__(name: str):
    if name not in _PUBLIC:
        raise AttributeError(f"module 'mlcalc' has no attribute {name!r}")
    return getattr(import_module(_PUBLIC[name]), name)


def __dir__() -> list[str]:
    return __all__
