"""A random legal Program from a seed."""

from random import Random

import numpy as np

from hwroute.config import Config
from hwroute.isa.fields import QUEUED, Register, Unit
from hwroute.isa.instruction import Instruction, unit_mask
from hwroute.models.image import Image
from hwroute.program import Program
from hwroute.sim.random_programs.attention import Sequence
from hwroute.sim.random_programs.case import RandomCase, place_program
from hwroute.sim.random_programs.effects import with_tokens
from hwroute.sim.random_programs.pieces import write_decide, write_pieces
from hwroute.sim.random_programs.setting import (
    CONFIGS,
    CONTEXT,
    FP32,
    TIED,
    VOCABULARY,
    Setting,
    random_memories,
)
from hwroute.sim.random_programs.superfluous import with_superfluous
from hwroute.sim.random_programs.vectors import write_reduce
from hwroute.sim.random_programs.writer import ALL, GROUPS, Label, Writer

MODEL = "random"
TILE = 6
"""Most tokens of a tile."""
SEQUENCES = (0, 1, 1, 2)
"""How many sequences of K and V a Program has: they take most of its cycles."""


def drawn_config(seed: int) -> Config:
    """Return the configuration that a seed draws."""
    return Random(seed).choice(CONFIGS)


def random_case(seed: int, config: Config | None = None) -> RandomCase:
    """Return the case of a seed and a configuration: the same each time.

    Parameters
    ----------
    seed
        Of all that chance decides.
    config
        One of `CONFIGS`; by default the seed draws it.
    """
    random = Random(seed)
    drawn = random.choice(CONFIGS)
    setting = Setting(config or drawn, random.randint(1, TILE))
    writer = Writer(setting, random)
    _write(writer)
    instructions = with_tokens(writer.instructions(), setting.tile)
    instructions = with_superfluous(instructions, random)
    program = program_of(setting, instructions)
    hbm, ddr = random_memories(setting, np.random.default_rng(seed))
    place_program(program, ddr)
    prompt = tuple(random.randrange(VOCABULARY) for _ in range(random.randint(1, 8)))
    return RandomCase(
        program=program,
        image=Image(hbm=hbm, ddr=ddr, program=program.hash, model=MODEL),
        prompt=prompt,
        generate=random.randint(1, CONTEXT - len(prompt)),
        seed=seed,
    )


def program_of(setting: Setting, instructions: tuple[Instruction, ...]) -> Program:
    """Return the Program of instructions."""
    blank = ("",) * len(instructions)
    return Program(
        model=MODEL,
        policy=MODEL,
        config=setting.config,
        memory=setting.memory,
        tile=setting.tile,
        instructions=instructions,
        labels={},
        operations=blank,
        notes=blank,
    )


def _write(writer: Writer) -> None:
    _write_start(writer)
    for _ in range(writer.choose(SEQUENCES)):
        write_pieces(writer, 4)
        Sequence(writer).write()
        _write_branch(writer)
    write_pieces(writer, 6)
    _write_loop(writer)
    _write_branch(writer)
    writer.emit("halt")


def _write_start(writer: Writer) -> None:
    """Fill the scratchpad and the statistics, so that nothing is read that was never written."""
    data = writer.setting.memory.region("data").address
    writer.emit("set", d=Register.POSITION, value=0)
    writer.set_rows(writer.setting.tile)
    for place in (range(TIED.start, FP32.start), FP32):
        writer.emit(
            "load",
            to=place.start,
            address=data + place.start,
            lines=len(place),
            index=Register.ZERO,
        )
    for group in range(GROUPS):
        write_reduce(writer, plane=0, group=3 * group * writer.pitch)
    writer.known.update({Register.T2: 0, Register.T3: 0})


def _write_branch(writer: Writer) -> None:
    """Write pieces that are run or not, and sometimes others in their stead."""
    name = writer.choose(("branch.empty", "branch.empty", "branch.zero", "branch.equal"))
    other, end = Label(), Label()
    if name == "branch.empty":
        writer.go(name, other, plane=write_decide(writer))
    elif name == "branch.zero":
        writer.emit("set", d=Register.T2, value=writer.random.randrange(2))
        writer.go(name, other, a=Register.T2)
    else:
        if writer.chance(0.3):
            writer.emit("sync", wait=unit_mask([Unit.NPE]))
            operands = (Register.TOKEN, Register.ZERO)
        else:
            writer.emit("set", d=Register.T3, value=writer.choose((writer.setting.tile, 99)))
            writer.emit("set", d=Register.T2, value=writer.setting.tile)
            operands = (Register.T2, Register.T3)
        writer.go(name, other, a=operands[0], b=operands[1])
    before = set(writer.planes)
    write_pieces(writer, 5)
    both = writer.chance(0.4)
    if both:
        writer.go("jump", end)
    writer.planes = set(before)
    writer.known.clear()
    writer.put(other)
    if both:
        write_pieces(writer, 3)
        writer.planes = before
        writer.known.clear()
        writer.put(end)


def _write_loop(writer: Writer) -> None:
    """Write a loop of pieces."""
    head = Label()
    writer.emit("set", d=Register.T0, value=writer.upto(3))
    writer.put(head, ALL)
    writer.set_rows(writer.upto(writer.setting.tile))
    writer.known.clear()
    write_pieces(writer, 5)
    writer.go("loop", head, d=Register.T0)
    writer.known.clear()
    if writer.chance(0.3):
        drained = [unit for unit in QUEUED if writer.chance(0.5)]
        writer.emit("sync", wait=unit_mask(drained))
