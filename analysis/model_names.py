"""What models given on a command line are called in tables and figures."""

from pathlib import Path

from mlcalc.common.errors import InputError
from mlcalc.model_file import FILE_IN_FOLDER


def model_names(models: list[str]) -> list[str]:
    """Short names, all different: those of files, or of the folders that 'mlcalc train' writes; otherwise the paths as given.

    Raises:
        InputError: A model is given twice.
    """
    if twice := next((model for model in models if models.count(model) > 1), None):
        raise InputError(f"{twice}: given {models.count(twice)} times: expected different models")
    short = [_short(Path(model)) for model in models]
    return [name if short.count(name) == 1 else model for name, model in zip(short, models, strict=True)]


def _short(path: Path) -> str:
    return path.parent.name if path.name == FILE_IN_FOLDER and path.parent.name else path.stem
