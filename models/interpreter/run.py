"""The sequencer: fetch instructions, take branches, hand the rest to the units."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from hwroute.errors import InputError
from hwroute.isa.fields import Register, Unit
from hwroute.isa.instruction import Instruction
from hwroute.memory_map import Content
from hwroute.models.generate import Generation
from hwroute.models.image import Image
from hwroute.models.interpreter.array import Array
from hwroute.models.interpreter.journal import Journal
from hwroute.models.interpreter.kv import KVUnit
from hwroute.models.interpreter.moves import DMA, read_ids, write_ids
from hwroute.models.interpreter.npe import NPE, Router
from hwroute.models.interpreter.state import ALL_BITS, MachineError, State
from hwroute.models.tile import Values
from hwroute.program import Program

Observer = Callable[["Interpreter", int, Values], None]
"""Called after each instruction of a unit: interpreter, index, arrays that it wrote."""
KINDS = ("attention", "ffn")


def check_request(program: Program, prompt: Sequence[int], count: int) -> None:
    """Raise InputError unless a Program can continue `prompt` by `count` tokens."""
    context = program.memory.context
    if not prompt or count < 1:
        raise InputError(
            f"prompt and tokens to generate must be at least 1, not {len(prompt)} and {count}"
        )
    if len(prompt) + count > context:
        raise InputError(
            f"prompt and generated tokens must fit the program's context of {context}, "
            f"not {len(prompt)} + {count}"
        )


class Interpreter:
    """Run a Program.

    Instructions run one after the other, which is what queues and tokens keep up: the result is
    that of the units running side by side.

    Parameters
    ----------
    program
        What is run.
    image
        Of the memories, made for this Program.
    observer
        Told of every instruction that ran.
    journal
        Keeps what the instructions of the last run wrote.

    Members
    -------
    state
        Memories and registers.
    executed
        bool [layers, 2 (attention, FFN), tokens]: decisions; True where none was taken.
    overflowed
        Operations in which a value saturated, sticky.

    Raises
    ------
    InputError
        The image was made for another Program.
    """

    def __init__(
        self,
        program: Program,
        image: Image,
        *,
        observer: Observer | None = None,
        journal: Journal | None = None,
    ):
        if image.program != program.hash:
            raise InputError(
                f"image must be made for program {program.hash[:12]}, not {image.program[:12]}"
            )
        self.program = program
        self.image = image
        self.observer = observer
        self.overflowed: list[str] = []
        self._ids = next(
            one for one in program.memory.regions if one.content is Content.IDS
        ).address
        config = program.config
        self.state = State(config, image, program.tile, journal)
        layers = [one["layer"] for one in program.instructions if "layer" in one.values]
        kinds = (1 + max(layers, default=-1), len(KINDS), config.kv.max_tokens)
        self.executed: NDArray[np.bool_] = np.ones(kinds, np.bool_)
        self._kv = kv = KVUnit(self.state)
        self._array = array = Array(self.state, kv)
        npe, dma, router = NPE(self.state), DMA(self.state), Router(self.state)
        self._handlers: dict[str, Callable[[Instruction], Values]] = {
            "load": dma.load,
            "store": dma.store,
            "gather": dma.gather,
            "put": dma.put,
            "matmul": array.matmul,
            "scores": array.scores,
            "values": array.values,
            "reduce": npe.reduce,
            "normalise": npe.normalise,
            "rotate": npe.rotate,
            "swiglu": npe.swiglu,
            "residual": npe.residual,
            "divide": npe.divide,
            "argmax": npe.argmax,
            "decide": router.decide,
            "select": router.select,
            "kv.map": kv.map,
            "kv.deal": kv.deal,
            "kv.write": kv.write,
            "kv.prepare": kv.prepare,
            "kv.order": kv.order,
        }

    def _reset(self) -> None:
        """Make the machine as the image has it."""
        for part in (self.state, self._kv, self._array):
            part.reset()
        if self.state.journal:
            self.state.journal.reset()
        self.executed = np.ones(self.executed.shape, np.bool_)

    def generate(
        self,
        prompt: Sequence[int],
        count: int,
        *,
        stop: int | None = None,
        progress: Callable[[int], None] = lambda _: None,
    ) -> Generation:
        """Continue `prompt` by at most `count` tokens, as the host does: write ids, run, read ids.

        Parameters
        ----------
        prompt
            Token ids.
        count
            Tokens to generate.
        stop
            Token id that ends the generation.
        progress
            Called with 1 after each generated token.

        Raises
        ------
        InputError
            The prompt is empty, or does not fit the Program's memories with what is asked.
        MachineError
            The machine stopped with an error.
        """
        check_request(self.program, prompt, count)
        self._reset()
        registers = self.state.registers
        write_ids(self.state, self._ids, list(prompt))
        registers[Register.PROMPT] = len(prompt)
        registers[Register.GENERATE] = count
        registers[Register.STOP] = ALL_BITS if stop is None else stop
        made = self._run(progress)
        processed = len(prompt) + made - 1
        ids = read_ids(self.state, self._ids, len(prompt) + made)
        return Generation(
            prompt_ids=list(prompt),
            token_ids=ids[len(prompt) :],
            executed=self.executed[:, :, :processed],
        )

    def _run(self, progress: Callable[[int], None]) -> int:
        """Run to the halt; return the number of `put` instructions."""
        index, puts = 0, 0
        instructions = self.program.instructions
        while True:
            one = instructions[index]
            if one.name == "halt":
                return puts
            try:
                if one.unit is Unit.CONTROL:
                    index = self._control(index, one)
                    continue
                written = self._journalled(index, one)
            except MachineError as error:
                raise MachineError(f"instruction {index}: {error}") from error
            self._note(index, one, written)
            if one.name == "put":
                puts += 1
                progress(1)
            index += 1

    def _journalled(self, index: int, one: Instruction) -> Values:
        """Run an instruction of a unit with the journal open, if there is one."""
        state = self.state
        if state.journal is None:
            return self._perform(one)
        state.journal.begin(index, one, state.position, state.row_count)
        written = self._perform(one)
        state.journal.end()
        return written

    def _perform(self, one: Instruction) -> Values:
        """Run an instruction of a unit; one whose plane holds no token does nothing."""
        if one["plane"] and one.name != "kv.deal" and not len(self.state.selected(one["plane"])):
            return {}
        return self._handlers[one.name](one)

    def _note(self, index: int, one: Instruction, written: Values) -> None:
        """Keep what is asked of a run besides its tokens."""
        if self.state.overflowed:
            self.state.overflowed = False
            name = self.program.operations[index]
            if name not in self.overflowed:
                self.overflowed.append(name)
        if one.name == "decide":
            bits, start = written["plane"], self.state.position
            self.executed[one["layer"], one["kind"], start : start + len(bits)] = bits
        if self.observer:
            self.observer(self, index, written)

    def _control(self, index: int, one: Instruction) -> int:
        """Execute an instruction of the sequencer; return the index of the next."""
        registers = self.state.registers

        def write(value: int) -> None:
            if one["d"] != Register.ZERO:
                registers[one["d"]] = value & ALL_BITS

        def read(name: str) -> int:
            return int(registers[one[name]])

        taken = False
        if one.name == "set":
            write(one["value"])
        elif one.name == "add":
            write(read("a") + read("b"))
        elif one.name == "sub":
            write(read("a") - read("b"))
        elif one.name == "min":
            write(min(read("a"), one["value"]))
        elif one.name == "jump":
            taken = True
        elif one.name == "branch.empty":
            taken = not len(self.state.selected(one["plane"]))
        elif one.name == "branch.zero":
            taken = read("a") == 0
        elif one.name == "branch.equal":
            taken = read("a") == read("b")
        elif one.name == "loop":
            if read("d") == 0:
                raise MachineError("loop.d must not be 0")
            write(read("d") - 1)
            taken = read("d") != 0
        return one["target"] if taken else index + 1
