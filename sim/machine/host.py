"""What passes between a host and the simulated machine: files in the folder of a run.

``sim/verilog/hwroute_host.v`` follows the steps; ``hwroute_axi_memory.v`` has the memories.
"""

from collections.abc import Iterator, Sequence
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
from hwroute.sim.machine.attempts import BusFailure, Earlier, Step, failure_steps
from hwroute.sim.machine.harness import LOG, WAVES, memories

REGISTERS = "registers.txt"
"""What the host read."""
RESET = "reset"
"""Begins its lines that are no registers."""
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


def write_steps(
    config: Config,
    arguments: dict[str, int],
    max_cycles: int,
    folder: Path,
    before: Sequence[Earlier] = (),
    failure: BusFailure | None = None,
) -> None:
    """Write what the host does: in every run arguments, start, wait, read every register.

    It reads nothing of a run that is cut off.

    Parameters
    ----------
    config
        Of the machine.
    arguments, failure
        Of the run that counts.
    max_cycles
        Most that the host waits for a run.
    folder
        Of the run.
    before
        Runs before it.
    """
    wait = [("I", max_cycles, 0), *_read_steps(config)]
    steps: list[Step] = []
    for one in before:
        steps += _start_steps(config, {**arguments, **one.arguments}, one.failure)
        if one.reset is None:
            steps += [*wait, ("W", csr.INTERRUPT_STATUS, 1)]
        elif one.cut is None:
            steps += [*wait, ("X", one.reset.value, 0)]
        else:
            steps += [("U", one.cut, 0), ("X", one.reset.value, 0)]
    steps += [*_start_steps(config, arguments, failure), *wait]
    text = "".join(f"{step} {place:x} {value:x}\n" for step, place, value in steps)
    (folder / "host.txt").write_text(text, encoding="ascii")


def _start_steps(
    config: Config, arguments: dict[str, int], failure: BusFailure | None
) -> Iterator[Step]:
    yield from failure_steps(config, failure)
    for one in csr_table(config):
        if one.name in arguments:
            yield ("W", one.offset, arguments[one.name])
    for offset in (csr.GLOBAL_INTERRUPT, csr.INTERRUPT_ENABLE, csr.CONTROL):
        yield ("W", offset, 1)


def _read_steps(config: Config) -> Iterator[Step]:
    yield ("R", csr.CONTROL, 0)
    for one in csr_table(config):
        # Reading the low word keeps the high one.
        offsets = range(one.offset, one.offset + -(-one.bits // 32) * WORD, WORD)
        yield from (("R", offset, 0) for offset in offsets if one.kind is not Kind.ARGUMENT)


def read_registers(config: Config, folder: Path) -> tuple[list[dict[str, int]], list[int]]:
    """Return what the host read, run by run, and what memories owed at each reset, in bursts.

    Status and counters have their names, and the control register is ``control``.
    """
    runs: list[dict[int, int]] = []
    owed = []
    for line in (folder / REGISTERS).read_text(encoding="ascii").splitlines():
        what, value = line.split()
        if what == RESET:
            owed.append(int(value, 16))
            continue
        offset = int(what, 16)
        if offset == csr.CONTROL:
            runs.append({})
        runs[-1][offset] = int(value, 16)
    return [_named(config, words) for words in runs], owed


def _named(config: Config, words: dict[int, int]) -> dict[str, int]:
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
