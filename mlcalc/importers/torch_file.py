"""Files of torch.save, read without torch: hollow objects, and NumPy arrays for tensors.

The file is an uncompressed zip archive of a pickle (``data.pkl``, protocol 2) and the numbers that its tensors point into
(``data/KEY``). Every class and function that the pickle names becomes a hollow class of that name, which keeps its state and
does nothing: no code of the file is ever executed. Declared sizes are checked against the file's own before they are used.

Format: torch/csrc/jit/serialization/docs/serialization.md of PyTorch; Python's ``pickletools``.
"""

import os
import pickletools
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided

from mlcalc.common.errors import InputError
from mlcalc.common.zip_files import open_zip

_MOST_BYTES = 1 << 27  # of a file; a SchNet is a few MB
_MOST_PICKLE_BYTES = 1 << 20
_MOST_DIMENSIONS, _MOST_CLASSES = 8, 1000
_DTYPES = {
    "DoubleStorage": "f8", "FloatStorage": "f4", "HalfStorage": "f2", "LongStorage": "i8", "IntStorage": "i4",
    "ShortStorage": "i2", "CharStorage": "i1", "ByteStorage": "u1", "BoolStorage": "?",
}  # fmt: skip
_DTYPE_NAMES = {  # torch pickles a dtype as a global; tables of casts have them for keys
    f"torch.{name}": name
    for name in ("float16", "bfloat16", "float32", "float64", "uint8", "int8", "int16", "int32", "int64", "bool")
}


class Hollow:
    """Stands for an object of a class that is not loaded: attributes, submodules and tensors, no behaviour."""

    def __init__(self, *arguments, **options):
        """Arguments are dropped."""

    def __new__(cls, *arguments, **options):
        """Likewise."""
        return super().__new__(cls)

    @property
    def kind(self) -> str:
        """Name of the class."""
        return type(self).__name__

    def __getattr__(self, name: str):
        for store in ("_modules", "_parameters", "_buffers"):
            if name in self.__dict__.get(store, {}):
                return self.__dict__[store][name]
        raise AttributeError(name)

    @property
    def children(self) -> list["Hollow"]:
        """Submodules, in order."""
        return list(self._modules.values())


def read_torch_file(path: Path) -> Any:
    """The object in a file of torch.save.

    Raises:
        InputError: Not a file of torch.save, a damaged one, one that declares more than it holds, or one of more than 128 MiB.
    """
    if not os.path.isfile(path):
        raise InputError("no such file")
    try:
        archive = open_zip(path, _MOST_BYTES)
    except InputError as error:
        raise InputError(f"not written by torch.save ({error}); expected SchNetPack's best_model") from error
    try:
        with archive:
            name = _check_members(archive, path.stat().st_size)
            return _Machine(archive, name.removesuffix("data.pkl")).run(archive.read(name))
    except InputError:
        raise
    except Exception as error:  # a damaged file can raise anything
        raise InputError(f"not readable: {type(error).__name__}: {str(error).partition(chr(10))[0][:200]}") from error


def _check_members(archive: zipfile.ZipFile, size: int) -> str:
    """Name of the pickle."""
    members = archive.infolist()
    if packed := [member.filename for member in members if member.compress_type != zipfile.ZIP_STORED]:
        raise InputError(f"{packed[0][:60]!r} is compressed, which torch.save never does")
    if (declared := sum(member.file_size for member in members)) > size:
        raise InputError(f"declares {declared} bytes in a file of {size}")
    pickles = [member for member in members if member.filename.endswith("/data.pkl")]
    if len(pickles) != 1 or pickles[0].file_size > _MOST_PICKLE_BYTES:
        raise InputError(
            f"not written by torch.save: expected one data.pkl of at most {_MOST_PICKLE_BYTES} bytes in best_model"
        )
    return pickles[0].filename


class _Machine:
    """Runs the instructions of a pickle that torch.save uses, and no others; keys of tables are names or numbers.

    Nested tuples and lists that share their parts take exponential time to hash, compare or print: this class does none of it.
    """

    def __init__(self, archive: zipfile.ZipFile, folder: str):
        self._archive, self._folder = archive, folder
        order = f"{folder}byteorder"
        self._order: Any = ">" if order in archive.namelist() and archive.read(order) == b"big" else "<"
        self._storages: dict[str, np.ndarray] = {}
        self._classes: dict[str, type] = {}
        self._memo: dict[int, Any] = {}
        self._stack: list = []
        self._below: list[list] = []  # stacks under each mark

    def run(self, content: bytes) -> Any:
        """The object that a pickle makes."""
        for instruction, argument, _ in pickletools.genops(content):
            name = instruction.name
            if name in _PUSHED:
                self._stack.append(argument)
            elif name in _MADE:
                self._stack.append(_MADE[name]())
            elif name in _STEPS:
                _STEPS[name](self, argument)
            elif name not in ("PROTO", "STOP"):
                raise InputError(f"an instruction {name}, which torch.save does not use")
        (made,) = self._stack
        return made

    def mark(self, _) -> None:
        """Start a group of objects."""
        self._below.append(self._stack)
        self._stack = []

    def _since_mark(self) -> list:
        items, self._stack = self._stack, self._below.pop()
        return items

    def _last(self, count: int) -> list:
        if len(self._stack) < count:
            raise InputError("an instruction without its operands")
        items = self._stack[-count:]
        del self._stack[-count:]
        return items

    def put(self, key: int) -> None:
        """Remember the last object."""
        self._memo[key] = self._stack[-1]

    def get(self, key: int) -> None:
        """Take a remembered object."""
        self._stack.append(self._memo[key])

    def find(self, path: str) -> None:
        """A function of this module for the few that make tensors and tables, a dtype's name, a hollow class for all others."""
        module, name = path.split(" ", 1)
        found = _MAKERS.get(f"{module}.{name}") or _DTYPE_NAMES.get(f"{module}.{name}") or self._classes.get(name)
        if found is None:
            if len(self._classes) == _MOST_CLASSES or not name.replace(".", "").isidentifier():
                raise InputError(f"names more than {_MOST_CLASSES} classes, or {name[:60]!r}, which is not one")
            found = self._classes[name] = type(name, (Hollow,), {})
        self._stack.append(found)

    def call(self, _) -> None:
        """Call a hollow class or a function that makes tensors, and nothing else."""
        function, arguments = self._last(2)
        known = isinstance(function, type) and issubclass(function, Hollow)
        known = known or (callable(function) and function in _MAKERS.values())
        if not known or not isinstance(arguments, tuple):
            raise InputError("the file calls something that is not callable")
        self._stack.append(function(*arguments))

    def build(self, _) -> None:
        """Give attributes to a hollow object."""
        target, state = self._last(2)
        if isinstance(target, Hollow) and type(state) is dict:
            vars(target).update(state)
        elif type(target) is not dict:  # attributes of an OrderedDict are of no use here
            raise InputError("the file sets attributes of an object that has none")
        self._stack.append(target)

    def append(self, items: list) -> None:
        """Put items at the end of a list."""
        if type(self._stack[-1]) is not list:
            raise InputError("the file appends to something that is not a list")
        self._stack[-1].extend(items)

    def fill(self, items: list) -> None:
        """Put keys and values into a table."""
        keys, values = items[::2], items[1::2]
        if type(self._stack[-1]) is not dict:
            raise InputError("the file puts keys into something that is not a table")
        if wrong := [key for key in keys if type(key) not in (str, int)]:
            kind = wrong[0] if isinstance(wrong[0], type) else type(wrong[0])
            raise InputError(
                f"a table of the file has a key of the type {kind.__name__[:60]}: expected names or numbers"
            )
        self._stack[-1].update(zip(keys, values, strict=True))

    def storage(self, _) -> None:
        """The numbers (n,) that tensors point into."""
        ((_, kind, key, _, count),) = self._last(1)
        dtype = _DTYPES.get(getattr(kind, "__name__", ""))
        if dtype is None or not isinstance(key, str) or type(count) is not int:
            raise InputError("numbers of a type that cannot be read")
        wanted = np.dtype(dtype).newbyteorder(self._order)
        if key not in self._storages:
            self._storages[key] = np.frombuffer(self._archive.read(f"{self._folder}data/{key}"), wanted)
        found = self._storages[key]
        if len(found) != count or found.dtype != wanted:
            raise InputError(f"a declared storage differs from the {len(found)} numbers of {found.dtype} in the file")
        self._stack.append(found)

    def pack(self, items: list) -> None:
        """Make a tuple."""
        self._stack.append(tuple(items))


def _table(*pairs) -> dict:
    if pairs:
        raise InputError("a table of the file is built in an unsupported way")
    return {}


def _tensor(storage, offset, size, stride, requires_grad=False, hooks=None, metadata=None) -> np.ndarray:
    """A view of a storage (n,) as torch makes it; lengths in numbers."""
    lengths = (offset, *size, *stride)
    if not isinstance(storage, np.ndarray) or len(size) != len(stride) or len(size) > _MOST_DIMENSIONS or metadata:
        raise InputError("a tensor that cannot be read")
    if not all(type(length) is int and length >= 0 for length in lengths):
        raise InputError("a tensor of an impossible shape")
    end = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True)) + 1
    if 0 in size:
        return np.empty(size, storage.dtype)
    if end > len(storage):
        raise InputError(f"a tensor ends at number {end} of {len(storage)}")
    return as_strided(storage[offset:], size, [step * storage.itemsize for step in stride], writeable=False)


def _parameter(tensor, requires_grad=False, hooks=None, state=None) -> np.ndarray:
    return tensor


_MAKERS: dict[str, Any] = {
    "collections.OrderedDict": _table,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_parameter": _parameter,
    "torch._utils._rebuild_parameter_with_state": _parameter,
}
_PUSHED = {"BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE", "SHORT_BINSTRING"}
_MADE: dict[str, Any] = {
    "NONE": lambda: None, "NEWTRUE": lambda: True, "NEWFALSE": lambda: False, "EMPTY_TUPLE": tuple, "EMPTY_LIST": list,
    "EMPTY_DICT": dict,
}  # fmt: skip
_STEPS: dict[str, Any] = {
    "MARK": _Machine.mark, "BINPUT": _Machine.put, "LONG_BINPUT": _Machine.put, "BINGET": _Machine.get, "LONG_BINGET": _Machine.get,
    "GLOBAL": _Machine.find, "REDUCE": _Machine.call, "NEWOBJ": _Machine.call, "BUILD": _Machine.build,
    "BINPERSID": _Machine.storage,
    "APPEND": lambda machine, _: machine.append(machine._last(1)),
    "APPENDS": lambda machine, _: machine.append(machine._since_mark()),
    "SETITEM": lambda machine, _: machine.fill(machine._last(2)),
    "SETITEMS": lambda machine, _: machine.fill(machine._since_mark()),
    "TUPLE": lambda machine, _: machine.pack(machine._since_mark()),
    **{f"TUPLE{n}": lambda machine, _, n=n: machine.pack(machine._last(n)) for n in (1, 2, 3)},
}  # fmt: skip
