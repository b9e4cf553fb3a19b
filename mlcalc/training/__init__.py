"""Training: labelled structures go in, a model file comes out."""

from mlcalc.common.packages import lazy_names

__getattr__, __dir__, __all__ = lazy_names(__name__, {"train": "start"})
