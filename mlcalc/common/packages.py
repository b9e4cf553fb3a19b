"""Public names of packages that load on first use, and former paths of modules that have moved."""

import sys
from collections.abc import Callable
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType


def lazy_names(package: str, homes: dict[str, str]) -> tuple[Callable, Callable, list[str]]:
    """``__getattr__``, ``__dir__`` and ``__all__`` of a package whose names live in modules below it, which load on first use."""

    def get(name: str):
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(import_module(f"{package}.{homes[name]}"), name)

    return get, lambda: sorted(homes), sorted(homes)


class _Moved(MetaPathFinder, Loader):
    """Imports a module by its former path: both names give the same module."""

    def __init__(self, moved: dict[str, str]):
        self.moved = moved

    def find_spec(self, name: str, path=None, target=None) -> ModuleSpec | None:
        return ModuleSpec(name, self) if name in self.moved else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return ModuleType(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        sys.modules[module.__name__] = import_module(self.moved[module.__name__])


def keep_old_paths(package: str, moved: dict[str, str]) -> None:
    """Keep modules of a package importable by their former paths, which users' scripts contain.

    Args:
        moved: Old path to new path, both below the package.
    """
    sys.meta_path.append(_Moved({f"{package}.{old}": f"{package}.{new}" for old, new in moved.items()}))
