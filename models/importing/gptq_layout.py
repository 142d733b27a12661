"""Matrices that GPTQ packed to 4 bits, in the layout of AutoGPTQ and GPTQModel.

A matrix [out, in] is four tensors: ``qweight`` int32 [in / 8, out], eight input rows a word from
the low nibble up; ``scales`` float16 [groups, out]; ``qzeros`` int32 [groups, out / 8]; and
``g_idx`` int32 [in], the group of each input. A weight is ``(q - zero) * scale``. The first version
of the format stores zero - 1, the second (``checkpoint_format`` "gptq_v2") zero itself.

The machine's weights have no zero points: a zero must be 8, and q - 8 is the machine's INT4.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwroute.checkpoint import Int4Weights, groups_of
from hwroute.errors import InputError
from hwroute.hf_config import read_config
from hwroute.models.folder import GROUP
from hwroute.models.quantize import SMALLEST_SCALE
from hwroute.models.tensor_file import TensorFile

PARTS = ("qweight", "scales", "qzeros", "g_idx")
PER_WORD = 8
"""Nibbles of an int32."""
ZERO = 8
"""The zero point of a symmetric grid of 4 bits."""
_STORED_LESS = {"gptq": 1, "gptq_v2": 0}
"""What each version of the format stores less than the zero."""


@dataclass(frozen=True, kw_only=True)
class GptqSettings:
    """What the configuration says of the grid beyond what is required.

    Parameters
    ----------
    stored_less
        A zero less the value stored for it.
    reordered
        ``desc_act``: inputs may have been taken into groups out of order, as ``g_idx`` says.
    """

    stored_less: int
    reordered: bool


def gptq_settings(folder: Path, config: dict[str, Any]) -> GptqSettings | None:
    """Return what a checkpoint says about its quantisation, None if it is not quantised.

    Parameters
    ----------
    folder, config
        Of the checkpoint, and its `config.json`: either a table `quantization_config` there or a
        file `quantize_config.json`.

    Raises
    ------
    InputError
        Another method, or a grid that the machine does not have.
    """
    where, table = (
        f"{folder / 'config.json'}: quantization_config",
        config.get("quantization_config"),
    )
    if table is None and (folder / "quantize_config.json").exists():
        where = str(folder / "quantize_config.json")
        table = read_config(folder / "quantize_config.json")
    if table is None:
        return None
    if not isinstance(table, dict):
        raise InputError(f"{where} must be a table, not {table!r}")
    required = {"quant_method": "gptq", "bits": 4, "group_size": GROUP, "sym": True}
    for key, value in required.items():
        # Files of AutoGPTQ leave the method out, and older ones the symmetry.
        found = table.get(key, None if key in ("bits", "group_size") else value)
        if found != value or type(found) is not type(value):
            raise InputError(f"{where}: {key} must be {value!r}, not {found!r}")
    version = table.get("checkpoint_format", "gptq")
    if version not in _STORED_LESS:
        known = ", ".join(_STORED_LESS)
        raise InputError(f"{where}: checkpoint_format must be one of {known}, not {version!r}")
    return GptqSettings(
        stored_less=_STORED_LESS[version], reordered=bool(table.get("desc_act", False))
    )


def part_name(matrix: str, part: str) -> str:
    """Return the name of one of the `PARTS` of a matrix."""
    return matrix.removesuffix("weight") + part


def check_parts(
    file: TensorFile, matrix: str, size: tuple[int, int], settings: GptqSettings
) -> None:
    """Check element types and shapes of the parts of a matrix [out, in] from the header.

    Raises
    ------
    InputError
        A part is missing, misshapen or of another element type.
    """
    rows, columns = size
    groups = groups_of(columns, GROUP)
    shapes = {
        "qweight": (groups_of(columns, PER_WORD), rows),
        "qzeros": (groups, groups_of(rows, PER_WORD)),
        "g_idx": (columns,),
    }
    for part, shape in shapes.items():
        name = part_name(matrix, part)
        if part == "g_idx" and not settings.reordered and name not in file.names:
            continue
        file.check({name: shape}, ("I32",))
    file.check({part_name(matrix, "scales"): (groups, rows)}, ("F16",))


def unpack_matrix(
    file: TensorFile, matrix: str, size: tuple[int, int], settings: GptqSettings
) -> Int4Weights:
    """Return a matrix [out, in] that `check_parts` accepted, the same weights to the last bit.

    One exception: the machine reads a scale below 2**-14, the smallest normal FP16, as zero. A
    group with such a scale is rounded, to nearest even, to the grid of 2**-14.

    Raises
    ------
    InputError
        A zero point other than 8, inputs that are not grouped in order, or a negative scale.
    """
    rows, columns = size

    def refuse(part: str, what: str, wrong: NDArray[np.bool_], found: NDArray[Any]) -> None:
        if wrong.any():
            index = np.argwhere(wrong)[0]
            raise InputError(
                f"{file.entry(part_name(matrix, part)).path}: tensor {part_name(matrix, part)} "
                f"must {what}, not {found[tuple(index)]} at {index.tolist()}"
            )

    stored = nibbles(file.read(part_name(matrix, "qzeros")), axis=1)[:, :rows].astype(np.int64)
    zeros = (stored + settings.stored_less) % 16
    refuse(
        "qzeros", "be a zero point of 8, without which the grid is asymmetric", zeros != ZERO, zeros
    )
    if part_name(matrix, "g_idx") in file.names:
        order = file.read(part_name(matrix, "g_idx"))
        wrong = order != np.arange(columns) // GROUP
        refuse("g_idx", f"give {GROUP} inputs in order to a group (desc_act)", wrong, order)
    scales = file.read(part_name(matrix, "scales")).T
    refuse("scales", "be above zero", scales.T < 0, scales.T)
    packed = file.read(part_name(matrix, "qweight"))
    values = np.ascontiguousarray(nibbles(packed, axis=0)[:columns].T).view(np.int8) - np.int8(ZERO)
    small = scales < SMALLEST_SCALE
    if small.any():
        ratio = np.where(small, scales.astype(np.float64) / SMALLEST_SCALE, 1.0)
        values = np.rint(values * np.repeat(ratio, GROUP, axis=1)[:, :columns]).astype(np.int8)
        scales = np.where(small, np.float16(SMALLEST_SCALE), scales)
    halves = np.ascontiguousarray(scales).view(np.uint16)
    return Int4Weights(values=values, scales=halves, group=GROUP)


def nibbles(words: NDArray[np.int32], *, axis: int) -> NDArray[np.uint8]:
    """Unpack eight nibbles a word along an axis of a matrix, low ones first: uint8, 0 to 15."""
    lanes = np.moveaxis(words, axis, 0).view(np.uint32)
    found = np.empty((len(lanes), PER_WORD, lanes.shape[1]), np.uint8)
    for place in range(PER_WORD):
        found[:, place] = lanes >> np.uint32(4 * place) & np.uint32(0xF)
    return np.moveaxis(found.reshape(-1, lanes.shape[1]), 0, axis)
