"""What passes between a host and the simulated machine: files in the folder of a run.

``sim/verilog/hwroute_host.v`` follows the steps; ``hwroute_axi_memory.v`` has the memories.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hwroute import csr
from hwroute.config import Config
from hwroute.csr import Kind, csr_table
from hwroute.errors import InputError
from hwroute.isa.fields import LINE_BYTES
from hwroute.memory_map import Content
from hwroute.models.image import Image
from hwroute.models.interpreter.state import ALL_BITS
from hwroute.program import Program
from hwroute.sim.machine.harness import LOG, WAVES, memories

REGISTERS = "registers.txt"
"""What the host read."""
DONE = 1 << 1
"""Bit of `hwroute.csr.CONTROL`."""
WORD = 4
"""Bytes from one half of a register to the other."""


def prepare(program: Program, image: Image, prompt: Sequence[int], folder: Path) -> None:
    """Write what the memories begin with, the prompt in place; remove what a run left.

    Raises
    ------
    InputError
        The image is larger than a simulated memory.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for file in (*folder.glob("*.hex"), *(folder / name for name in (REGISTERS, LOG, WAVES))):
        file.unlink(missing_ok=True)
    ddr = image.ddr.reshape(-1).copy()
    ids = np.array(prompt, "<u4").view(np.uint8)
    place = region_of(program, Content.IDS) * LINE_BYTES
    ddr[place : place + len(ids)] = ids
    places = memories(program.config).items()
    for (name, (port, beats)), content in zip(places, (ddr, *image.hbm), strict=True):
        if content.nbytes > beats * port.data_bytes:
            raise InputError(
                f"image must have at most {beats * port.data_bytes} bytes in {name}, as much as "
                f"is simulated, not {content.nbytes}"
            )
        content.tofile(folder / f"{name}.bin")


def arguments_of(
    program: Program, prompt: int, generate: int, stop: int | None, timeout: int
) -> dict[str, int]:
    """Return the values of the arguments."""
    return {
        "prompt": prompt,
        "generate": generate,
        "stop": ALL_BITS if stop is None else stop,
        "length": len(program.instructions),
        "first": 0,
        "tile": program.tile,
        "timeout": timeout,
        "program": region_of(program, Content.PROGRAM),
    }


def write_steps(config: Config, arguments: dict[str, int], max_cycles: int, folder: Path) -> None:
    """Write what the host does: arguments, start, wait, read every register."""
    table = csr_table(config)
    steps = [("W", one.offset, arguments[one.name]) for one in table if one.name in arguments]
    enable = (csr.GLOBAL_INTERRUPT, csr.INTERRUPT_ENABLE, csr.CONTROL)
    steps += [("W", offset, 1) for offset in enable]
    steps += [("I", max_cycles, 0), ("R", csr.CONTROL, 0)]
    for one in table:
        # Reading the low word keeps the high one.
        offsets = range(one.offset, one.offset + -(-one.bits // 32) * WORD, WORD)
        steps += [("R", offset, 0) for offset in offsets if one.kind is not Kind.ARGUMENT]
    text = "".join(f"{step} {place:x} {value:x}\n" for step, place, value in steps)
    (folder / "host.txt").write_text(text, encoding="ascii")


def read_registers(config: Config, folder: Path) -> dict[str, int]:
    """Return status and counters by name, and the control register as ``control``."""
    lines = (folder / REGISTERS).read_text(encoding="ascii").splitlines()
    pairs = (line.split() for line in lines)
    words = {int(offset, 16): int(value, 16) for offset, value in pairs}
    values = {
        one.name: words[one.offset] | words.get(one.offset + WORD, 0) << 32
        for one in csr_table(config)
        if one.kind is not Kind.ARGUMENT
    }
    return {"control": words[csr.CONTROL], **values}


def read_memory(folder: Path, name: str, config: Config) -> NDArray[np.uint8]:
    """Return what a memory held at the end, beat by beat; as at the start, if nothing wrote."""
    port, beats = memories(config)[name]
    file = folder / f"{name}.hex"
    if not file.exists():
        begun = np.fromfile(folder / f"{name}.bin", np.uint8)
        return np.pad(begun, (0, beats * port.data_bytes - len(begun))).reshape(beats, -1)
    lines = file.read_text(encoding="ascii").split()
    digits = "".join(line for line in lines if not line.startswith(("@", "//")))
    return np.frombuffer(bytes.fromhex(digits), np.uint8).reshape(beats, -1)[:, ::-1].copy()


def read_ids(program: Program, ddr: NDArray[np.uint8], first: int, count: int) -> list[int]:
    """Return `count` token ids from number `first` on."""
    place = region_of(program, Content.IDS) * LINE_BYTES // WORD + first
    return [int(one) for one in ddr.reshape(-1).view("<u4")[place : place + count]]


def region_of(program: Program, content: Content) -> int:
    """Return the address of the only region of a content."""
    return next(one.address for one in program.memory.regions if one.content is content)
