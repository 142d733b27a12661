"""The memory image: what HBM and DDR hold before a Program starts (hwroute.memory_map)."""

from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from hwroute.checkpoint import Checkpoint
from hwroute.isa.fields import BEAT_BYTES, LINE_BYTES, LINE_ELEMENTS
from hwroute.kv_layout import kv_layout
from hwroute.matrix_layout import MatrixLayout, matrix_layout
from hwroute.memory_map import Arrangement, Content, MemoryMap, Region, Space
from hwroute.models.folder_writer import pack_int4
from hwroute.models.ops.column_base import padded
from hwroute.models.ops.columns import columns_of
from hwroute.models.weights import MachineWeights
from hwroute.numerics import Bits16
from hwroute.program import Program
from hwroute.tensor_document import open_document, save_document

FORMAT = "hwroute-image/1"
Bytes = NDArray[np.uint8]
Element = TypeVar("Element", bound=np.generic)


@dataclass(frozen=True, kw_only=True)
class Image:
    """Contents of the memories.

    Parameters
    ----------
    hbm
        uint8 [ports, beats, 32].
    ddr
        uint8 [lines, 128].
    program, model
        Hashes of the Program that it was made for, and of the checkpoint.
    """

    hbm: Bytes
    ddr: Bytes
    program: str
    model: str

    def save(self, path: Path) -> None:
        """Write a file.

        Raises
        ------
        InputError
            The path cannot be written.
        """
        about = {"format": FORMAT, "program": self.program, "model": self.model}
        save_document(path, about, {"hbm": self.hbm, "ddr": self.ddr}, "image")

    @classmethod
    def load(cls, path: Path) -> "Image":
        """Read a file.

        Raises
        ------
        InputError
            It is no whole image, or of another version.
        """
        with open_document(path, FORMAT, "image") as (about, read):
            return cls(
                hbm=read("hbm"), ddr=read("ddr"), program=about["program"], model=about["model"]
            )


def build_image(program: Program, checkpoint: Checkpoint) -> Image:
    """Return the image of a checkpoint for a Program that was compiled for its shape.

    Raises
    ------
    InputError
        A tensor is missing or broken, or its group size is not the overlay's.
    """
    builder = _Builder(program, checkpoint)
    for region in program.memory.regions:
        builder.place(region)
    return Image(hbm=builder.hbm, ddr=builder.ddr, program=program.hash, model=checkpoint.hash)


class _Builder:
    def __init__(self, program: Program, checkpoint: Checkpoint):
        self.config = program.config
        self.memory: MemoryMap = program.memory
        self.words = np.frombuffer(program.words, np.uint8)
        self.shape = checkpoint.shape
        numerics = program.config.numerics
        self.entry = kv_layout(self.shape, numerics.kv_format)
        self.weights = MachineWeights(checkpoint, numerics, columns_of(numerics))
        ports = program.config.kv.hbm_ports
        self.hbm = np.zeros((ports, program.memory.size(Space.HBM), BEAT_BYTES), np.uint8)
        self.ddr = np.zeros((program.memory.size(Space.DDR), LINE_BYTES), np.uint8)

    def place(self, region: Region) -> None:
        """Fill a region; token ids, K and V stay zero."""
        if region.content is Content.EMBEDDING or region.content is Content.VECTOR:
            self._place_lines(region, self._vector(region))
        elif region.content is Content.ROTARY:
            self._place_lines(region, self._rotary())
        elif region.content is Content.SCALES:
            self._place_lines(region, self._scales(region))
        elif region.content is Content.MATRIX:
            self.hbm[:, region.address : region.end] = self._matrix(region)
        elif region.content is Content.PROGRAM:
            octets = self.ddr[region.address : region.end].reshape(-1)
            octets[: len(self.words)] = self.words

    def _place_lines(self, region: Region, rows: Bits16) -> None:
        """Write FP16 rows [n, elements], each padded to lines."""
        lines = np.ascontiguousarray(padded(rows))
        self.ddr[region.address : region.end] = lines.view(np.uint8).reshape(-1, LINE_BYTES)

    def _vector(self, region: Region) -> Bits16:
        bits = np.atleast_2d(self.weights.vector(region.tensors[0]))
        if region.arrangement is Arrangement.HEADS:
            return padded(bits.reshape(-1, self.shape.head_dim)).reshape(1, -1)
        return bits

    def _rotary(self) -> Bits16:
        """Return for each position the tables of queries and of keys, each as long as a head."""
        tables = []
        for letter in ("q", "k"):
            pair = (table[: self.memory.context] for table in self.weights.rotary[letter])
            alternating = np.stack(list(pair), axis=-1)
            tables.append(padded(alternating.reshape(len(alternating), -1)))
        return np.stack(tables, axis=1).reshape(-1, self.entry.head_lines * LINE_ELEMENTS)

    def _layout(self, region: Region) -> MatrixLayout:
        return matrix_layout(self.shape, self.config, region.tensors, region.arrangement)

    def _scales(self, region: Region) -> Bits16:
        """Return scales by column block and group: rows of one for each column."""
        size = self._layout(region)
        scales = self._arranged(region, [self.weights.int4(one).scales for one in region.tensors])
        blocks = _padded_rows(scales, size.blocks * size.columns)
        by_block = blocks.reshape(size.blocks, size.columns, size.groups).transpose(0, 2, 1)
        return by_block.reshape(-1, size.columns)

    def _matrix(self, region: Region) -> Bytes:
        """Return the beats [ports, beats, 32] of a matrix."""
        size = self._layout(region)
        values = self._arranged(region, [self.weights.int4(one).values for one in region.tensors])
        blocks = _padded_rows(values, size.blocks * size.columns)
        lanes = np.zeros((len(blocks), size.reduction * LINE_ELEMENTS), np.int8)
        lanes[:, : blocks.shape[1]] = blocks
        by_column = (size.blocks, size.columns, size.reduction, BEAT_BYTES)
        packed = pack_int4(lanes).reshape(by_column).transpose(0, 2, 1, 3)
        beats = np.zeros((size.blocks, size.block_beats * size.ports, BEAT_BYTES), np.uint8)
        beats[:, : size.reduction * size.columns] = packed.reshape(size.blocks, -1, BEAT_BYTES)
        rows = beats.reshape(size.beats, size.ports, BEAT_BYTES)
        return rows.transpose(1, 0, 2)

    def _arranged(self, region: Region, parts: list[NDArray[Element]]) -> NDArray[Element]:
        """Return the outputs of one or two tensors in the order of the region."""
        if region.arrangement is Arrangement.PAIRED:
            pairs = np.stack(parts, axis=1)
            return pairs.reshape(-1, pairs.shape[-1])
        (part,) = parts
        if region.arrangement is Arrangement.HEADS:
            heads = part.reshape(-1, self.shape.head_dim, part.shape[1])
            missing = self.entry.head_lines * LINE_ELEMENTS - self.shape.head_dim
            return np.pad(heads, ((0, 0), (0, missing), (0, 0))).reshape(-1, part.shape[1])
        return part


def _padded_rows(rows: NDArray[Element], count: int) -> NDArray[Element]:
    return np.pad(rows, ((0, count - len(rows)), (0, 0)))
