"""The entries that a safetensors file carries beside its tensors, which the library's readers of bytes leave out."""

from typing import Any

from mlcalc.common.json_text import from_json

_LARGEST = 1 << 22  # bytes


def entries_of(content: bytes) -> dict[str, Any]:
    """Texts by name of a safetensors file (its bytes).

    Raises:
        ValueError: A header that does not fit the file. InputError: No JSON. KeyError: No entries.
    """
    length = int.from_bytes(content[:8], "little")
    if not 0 < length <= min(len(content) - 8, _LARGEST):
        raise ValueError(f"a header of {length} bytes in a file of {len(content)}")
    return from_json(content[8 : 8 + length])["__metadata__"]
