"""Words, numbers, tensors and dense layers in a checkpoint of SchNetPack 2, which may hold anything in their places.

What stands where a word, a number or an array belongs may take for ever to print or to compare: its type is looked at first.
"""

from typing import Any

import numpy as np

from mlcalc.common.errors import InputError
from mlcalc.importers.torch_file import Hollow

_MOST_NUMBERS = 1 << 26
_ELSE = "not a network of SchNetPack 2"


def expect(found: Any, *allowed: str, what: str) -> None:
    """Raise InputError, which says what was found, unless a word is one of those allowed."""
    if text(found) not in allowed:
        *others, last = allowed
        listed = f"{', '.join(others)} and {last}" if others else last
        raise InputError(f"{what} {found}: only {listed} can be imported")


def text(value: Any) -> str:
    """A word."""
    if not isinstance(value, str) or len(value) > 200 or not value.isprintable():
        raise InputError(f"a {type(value).__name__[:60]} where a word belongs: {_ELSE}")
    return value


def number(value: Any) -> float:
    """A number, or the only one of an array."""
    found = value.item() if isinstance(value, np.ndarray) and value.size == 1 else value
    if type(found) not in (int, float) or not np.isfinite(found):
        raise InputError(f"a {type(value).__name__[:60]} where a finite number belongs: {_ELSE}")
    return found


def truth(value: Any) -> bool:
    """True or False."""
    if not isinstance(value, bool):
        raise InputError(f"a {type(value).__name__[:60]} where true or false belongs: {_ELSE}")
    return value


def array(tensor: Any) -> np.ndarray:
    """A copy of a tensor of float32 or float64, in the byte order of the machine."""
    return _copy(tensor, (np.float32, np.float64), "numbers in float32 or float64")


def indices(tensor: Any) -> np.ndarray:
    """The same of int64."""
    return _copy(tensor, (np.int64,), "whole numbers in int64")


def _copy(tensor: Any, dtypes: tuple, expected: str) -> np.ndarray:
    if not isinstance(tensor, np.ndarray) or tensor.dtype.newbyteorder("=") not in dtypes:
        kind = getattr(tensor, "dtype", type(tensor).__name__[:60])
        raise InputError(f"a tensor of {kind}: expected {expected}")
    if tensor.size > _MOST_NUMBERS or (tensor.size > 1 and 0 in tensor.strides):
        raise InputError(f"a tensor of shape {tensor.shape}: more numbers than the file holds")
    return np.array(tensor, tensor.dtype.newbyteorder("="), order="C")


def shaped(name: str, tensor: Any, shape: tuple[int, ...] | None) -> np.ndarray:
    """The same of this shape. It is checked before the copy: blocks that share a tensor would multiply a large one."""
    if isinstance(tensor, np.ndarray) and tensor.shape != shape:
        raise InputError(f"{name} has shape {tensor.shape}, expected {shape}")
    return array(tensor)


def dense(layer: Hollow, name: str, *activations: str, bias: bool = True) -> dict[str, Any]:
    """Tensors (not copied) of a dense layer, ``name.weight`` and ``name.bias``.

    Args:
        activations: Those allowed after it, as ``activation`` names them; none: the layer is linear.

    Raises:
        InputError: A layer of another class, another activation, or a bias that is not expected.
    """
    expect(layer.kind, "Dense", what=f"{name} of the class")
    expect(activation(layer), *(activations or ("Identity",)), what=f"{name} with the activation")
    return _affine(layer, name, bias)


def linear(layer: Hollow, name: str, bias: bool = True) -> dict[str, Any]:
    """As ``dense``, of torch's own class of layers."""
    expect(layer.kind, "Linear", what=f"{name} of the class")
    return _affine(layer, name, bias)


def _affine(layer: Hollow, name: str, bias: bool) -> dict[str, Any]:
    if bias:
        return {f"{name}.weight": layer.weight, f"{name}.bias": layer.bias}
    if layer.bias is not None:
        raise InputError(f"{name} with a bias: expected none")
    return {f"{name}.weight": layer.weight}


def two_layers(layers: Hollow, name: str, *activations: str) -> dict[str, Any]:
    """Tensors of two dense layers, of which the second is linear; as of ``dense``."""
    if len(layers.children) != 2:
        raise InputError(f"{name} of {len(layers.children)} layers: expected two")
    first, second = layers.children
    return dense(first, f"{name}.0", *activations) | dense(second, f"{name}.1")


def activation(layer: Hollow) -> str:
    """Name of a function or of a module."""
    found = layer.activation
    return found.__name__ if isinstance(found, type) else found.kind
