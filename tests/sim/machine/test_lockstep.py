"""A log made from the journal passes; with one thing wrong in it, that is what is found."""

import json
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hwroute.errors import InputError
from hwroute.isa.fields import Unit
from hwroute.models.interpreter import Journal
from hwroute.numerics import fp16_to_fp32
from hwroute.rtl.issue_layouts import ISSUED
from hwroute.rtl.kv_layouts import order_layout, slot_layout
from hwroute.sim.machine.lockstep import Lockstep, follow
from hwroute.sim.machine.log import Event, Kind, read_log
from tests.sim.machine.synthetic_log import (
    CONFIG,
    END,
    TILE,
    Machine,
    Said,
    clean,
    ran,
    save,
)


@pytest.fixture
def check(tmp_path: Path) -> Callable[[list[Said]], Lockstep]:
    def checked(said: list[Said]) -> Lockstep:
        program, journal = ran()
        return follow(program, journal, read_log(save(said, tmp_path / "log.txt")))

    return checked


def find(test: Callable[[Said], Any], number: int = 3) -> int:
    """Return the index of a line of the log, not the first of its kind if there are several."""
    found = [index for index, one in enumerate(clean()) if test(one)]
    assert found
    return found[min(number, len(found) - 1)]


def of_kind(kind: Kind, *names: str) -> Callable[[Said], bool]:
    return lambda one: one.event.kind is kind and (not names or one.step.instruction.name in names)


def changed(index: int, payload: int) -> list[Said]:
    said = list(clean())
    said[index] = replace(said[index], event=replace(said[index].event, payload=payload))
    return said


def expect(result: Lockstep, kind: str, said: Said) -> Any:
    """Return the divergence, which is that of an instruction, of a kind, in a cycle."""
    found = result.divergence
    assert not result.match
    assert found is not None
    assert (found.kind, found.index, found.position, found.cycle) == (
        kind,
        said.step.index,
        said.step.position,
        said.event.cycle,
    )
    program = ran()[0]
    assert found.operation == program.operations[found.index]
    assert found.mnemonic == said.step.instruction.name
    assert found.text.startswith(found.mnemonic)
    assert found.unit == said.step.unit.name.lower()
    assert json.loads(json.dumps(found.to_dict()))["index"] == found.index
    assert f"instruction {found.index}" in str(found)
    return found


@pytest.mark.parametrize("seed", range(4))
def test_a_machine_that_is_right(check: Callable[..., Lockstep], seed: int) -> None:
    said = list(clean(seed))
    assert {one.event.kind for one in said} == set(Kind)
    result = check(said)
    assert result.match, str(result.divergence)
    assert result.events == len(said)
    assert result.instructions == len(ran()[1].steps)


@pytest.mark.parametrize("name", ["gather", "matmul", "normalise", "values", "scores"])
def test_a_wrong_bit_of_the_scratchpad(check: Callable[..., Lockstep], name: str) -> None:
    index = find(of_kind(Kind.WRITE, name))
    said = clean()[index]
    mask = said.event.payload >> 32 + 1024
    lane = (mask & -mask).bit_length() - 1
    found = expect(
        check(changed(index, said.event.payload ^ 1 << 32 + 16 * lane + 4)), "value", said
    )
    line = said.event.payload & 0xFFFF_FFFF
    assert found.place.at == {"line": line, "element": lane}
    (one,) = (one for one in said.step.writes if line in one.places)
    number = one.places.tolist().index(line)
    by_row = len(one.places) // len(one.rows)
    assert found.place.operand == one.operand
    assert found.place.row == one.rows[number // by_row]
    assert found.place.element == number % by_row * 64 + lane
    bits = one.bits[number]
    if name == "values":
        value = int(bits[lane & ~1]) | int(bits[lane | 1]) << 16
        shown = f"0x{value:08x} ({float(np.uint32(value).view(np.float32)):.9g})"
        other = f"0x{value ^ 1 << 4 + lane % 2 * 16:08x} "
    elif name == "matmul" and said.step.instruction.choice("format") == "fp32":
        pytest.fail("the test is of a matmul in FP16")
    else:
        shown = f"0x{bits[lane]:04x} ({float(fp16_to_fp32(bits[lane])):.6g})"
        other = f"0x{bits[lane] ^ 16:04x} "
    assert found.interpreter == shown
    assert found.machine.startswith(other)


@pytest.mark.parametrize("name", ["reduce", "scores", "values"])
def test_a_wrong_statistic(check: Callable[..., Lockstep], name: str) -> None:
    index = find(of_kind(Kind.STATISTIC, name))
    said = clean()[index]
    found = expect(check(changed(index, said.event.payload ^ 2)), "value", said)
    assert found.place.at == {"word": said.event.word}
    value = said.event.payload
    number = np.uint32(value).view(np.int32 if name == "scores" else np.float32)
    assert found.interpreter.startswith(f"0x{value:08x} ({number:.9g}")
    assert found.machine.startswith(f"0x{value ^ 2:08x} (")


def test_a_wrong_line(check: Callable[..., Lockstep]) -> None:
    index = find(of_kind(Kind.WRITE, "rotate"))
    said = clean()[index]
    line = said.event.payload & 0xFFFF_FFFF
    found = expect(check(changed(index, said.event.payload + 900)), "place", said)
    assert found.place.at["line"] == line + 900
    assert (found.interpreter, found.place.operand) == ("nothing", "")


def test_an_element_in_front_of_the_offset(check: Callable[..., Lockstep]) -> None:
    def behind_others(one: Said) -> bool:
        line = one.event.payload & 0xFFFF_FFFF
        return of_kind(Kind.WRITE)(one) and any(
            not write.mask[write.places.tolist().index(line), 0]
            for write in one.step.writes
            if write.mask is not None and line in write.places
        )

    index = find(behind_others, 0)
    said = clean()[index]
    found = expect(check(changed(index, said.event.payload | 1 << 32 + 1024)), "place", said)
    assert found.place.at["element"] == 0
    assert found.interpreter == "nothing"


@pytest.mark.parametrize("kind", [Kind.WRITE, Kind.STATISTIC, Kind.TOKEN, Kind.SLOT])
def test_a_write_that_is_missing(check: Callable[..., Lockstep], kind: Kind) -> None:
    index = find(of_kind(kind))
    missing = clean()[index]
    said = list(clean())
    del said[index]
    result = check(said)
    end = next(
        one for one in clean()[index:] if one.event.kind is Kind.DONE and one.step is missing.step
    )
    found = result.divergence
    assert found is not None
    # Where the next instruction writes before this one ends, its write is none of this one's.
    assert found.index == missing.step.index
    assert found.position == missing.step.position
    assert found.kind == "missing"
    assert found.cycle == end.event.cycle
    assert found.machine.endswith("nothing")
    if kind is Kind.WRITE:
        assert found.place is not None
        assert found.place.at["line"] == missing.event.payload & 0xFFFF_FFFF


def test_a_write_that_comes_twice(check: Callable[..., Lockstep]) -> None:
    """Before the instruction's last write, and behind it."""
    for last in (False, True):

        def test(one: Said, last: bool = last) -> bool:
            ours = [x for x in clean() if x.step is one.step and x.event.kind is Kind.WRITE]
            return (
                of_kind(Kind.WRITE, "matmul")(one) and len(ours) > 1 and (one is ours[-1]) == last
            )

        index = find(test)
        said = list(clean())
        said.insert(index + 1, said[index])
        found = expect(check(said), "extra" if last else "again", said[index])
        assert found.place.at["line"] == said[index].event.payload & 0xFFFF_FFFF
        assert found.interpreter == "nothing" or not last


@pytest.mark.parametrize("name", ["first", "token", "hit", "port", "slot", "keep", "bank"])
def test_a_wrong_entry_of_an_order(check: Callable[..., Lockstep], name: str) -> None:
    layout = order_layout(CONFIG.kv)
    index = find(lambda one: of_kind(Kind.ENTRY)(one) and one.event.payload != END)
    said = clean()[index]
    found = expect(
        check(changed(index, said.event.payload ^ 1 << layout[name].offset)), "value", said
    )
    assert found.interpreter.startswith(f"{name} 0x")
    assert found.machine.startswith(f"{name} 0x")


@pytest.mark.parametrize(
    ("name", "bit", "kind"),
    [("layer", 1, "place"), ("token", 5, "place"), ("port", 0, "value"), ("slot", 0, "value")],
)
def test_a_wrong_slot(check: Callable[..., Lockstep], name: str, bit: int, kind: str) -> None:
    index = find(of_kind(Kind.SLOT))
    said = clean()[index]
    wrong = said.event.payload ^ 1 << slot_layout(CONFIG.kv)[name].offset + bit
    found = expect(check(changed(index, wrong)), kind, said)
    assert kind == "place" or found.interpreter.startswith(f"{name} 0x")


def test_an_order_that_is_too_long(check: Callable[..., Lockstep]) -> None:
    end = find(lambda one: of_kind(Kind.ENTRY)(one) and one.event.payload == END)
    last = max(
        number
        for number, one in enumerate(clean()[:end])
        if one.step is clean()[end].step and of_kind(Kind.ENTRY)(one)
    )
    said = list(clean())
    said.insert(last + 1, said[last])
    expect(check(said), "extra", said[last])


def test_a_wrong_bit_of_a_plane(check: Callable[..., Lockstep]) -> None:
    index = find(of_kind(Kind.PLANES))
    said = clean()[index]
    plane, row = said.step.instruction["to"], 1
    # A bit of the plane that is to stay, one of another plane.
    for place, kind in ((plane * TILE + row, None), ((plane % 2 + 1) * TILE + 40, "place")):
        found = check(changed(index, said.event.payload ^ 1 << place)).divergence
        assert found is not None
        assert found.index == said.step.index
        assert found.place is not None
        assert found.place.space == "planes"
        assert kind is None or found.kind == kind


def test_planes_that_a_run_before_has_left(check: Callable[..., Lockstep]) -> None:
    """The log of a later run begins with them."""
    left = (1 << 3 * TILE) - 1
    said = Machine(1, planes=left).run(ran()[1])
    first = Event(kind=Kind.PLANES, unit=Unit.ROUTER, cycle=1, payload=left)
    result = check([Said(first, said[0].step), *said])
    assert result.match, str(result.divergence)
    assert not check(said).match


def test_a_bit_that_a_plane_is_not_given(check: Callable[..., Lockstep]) -> None:
    """A bit that has to change and does not shows when the instruction ends."""
    index = find(of_kind(Kind.PLANES))
    said = list(clean())
    gone = said.pop(index)
    before = next(
        one.event.payload for one in reversed(clean()[:index]) if one.event.kind is Kind.PLANES
    )
    bit = before ^ gone.event.payload
    for number, one in enumerate(said):
        if number >= index and one.event.kind is Kind.PLANES and one.step is gone.step:
            said[number] = replace(one, event=replace(one.event, payload=one.event.payload ^ bit))
    found = check(said).divergence
    assert found is not None
    assert (found.kind, found.index, found.position) == (
        "missing",
        gone.step.index,
        gone.step.position,
    )


def test_instructions_in_another_order(check: Callable[..., Lockstep]) -> None:
    _, journal = ran()
    steps = [one for one in journal.steps if one.unit is Unit.ARRAY]
    first = next(k for k in range(9, len(steps)) if steps[k].index != steps[k + 1].index)
    a, b = steps[first], steps[first + 1]
    swapped = Journal()
    swapped.steps = [{id(a): b, id(b): a}.get(id(one), one) for one in journal.steps]
    said = Machine(3).run(swapped)
    issue = next(one for one in said if one.step is b and one.event.kind is Kind.ISSUE)
    found = check(said).divergence
    assert found is not None
    assert (found.kind, found.index, found.cycle) == ("issue", a.index, issue.event.cycle)
    assert f"instruction {a.index} " in found.interpreter
    assert f"instruction {b.index} " in found.machine


def test_writes_of_two_instructions_in_another_order(check: Callable[..., Lockstep]) -> None:
    """The first write of the later one is none of the older one's."""
    said = list(clean())
    writes = [k for k, one in enumerate(said) if of_kind(Kind.WRITE, "matmul")(one)]
    i, j = next(
        (i, j)
        for i, j in pairwise(writes)
        if said[i].step is not said[j].step and i > len(said) // 3
    )
    older, later = said[i].event, said[j].event
    said[i] = replace(said[i], event=replace(older, payload=later.payload))
    said[j] = replace(said[j], event=replace(later, payload=older.payload))
    found = check(said).divergence
    assert found is not None
    assert (found.index, found.cycle) == (said[i].step.index, older.cycle)
    assert found.kind in ("place", "value", "again")


@pytest.mark.parametrize(
    ("name", "kind"), [("position", "issue"), ("rows", "issue"), ("index", "issue")]
)
def test_a_wrong_register(check: Callable[..., Lockstep], name: str, kind: str) -> None:
    index = find(of_kind(Kind.ISSUE, "decide"))
    said = clean()[index]
    wrong = said.event.payload ^ 1 << ISSUED[name].offset
    expect(check(changed(index, wrong)), kind, said)


def test_a_wrong_word(check: Callable[..., Lockstep]) -> None:
    index = find(of_kind(Kind.ISSUE, "reduce"))
    found = expect(
        check(changed(index, clean()[index].event.payload ^ 256)), "issue", clean()[index]
    )
    assert found.machine.startswith("word 0x")


def test_an_instruction_that_fails(check: Callable[..., Lockstep]) -> None:
    index = find(of_kind(Kind.DONE, "swiglu"))
    said = clean()[index]
    found = expect(check(changed(index, said.event.payload ^ 1)), "end", said)
    assert found.machine == f"instruction {said.step.index} failed"


def test_a_run_that_stops(check: Callable[..., Lockstep]) -> None:
    """A log that ends, in the middle of a line too, is that of a machine that hangs."""
    said = list(clean()[: len(clean()) // 2])
    found = check(said).divergence
    ended = {id(one.step) for one in said if one.event.kind is Kind.DONE}
    step = next(one for one in ran()[1].steps if id(one) not in ended)
    assert found is not None
    assert (found.kind, found.index, found.position) == ("end", step.index, step.position)
    begun = {id(one.step) for one in said if one.event.kind is Kind.ISSUE}
    assert found.machine == ("begun, not ended" if id(step) in begun else "not begun")


def test_a_run_that_goes_on(check: Callable[..., Lockstep]) -> None:
    said = list(clean())
    last = next(one for one in reversed(said) if one.event.kind is Kind.ISSUE)
    late = replace(last, event=replace(last.event, cycle=10**6))
    found = check([*said, late]).divergence
    assert found is not None
    assert (found.kind, found.cycle, found.interpreter) == ("issue", 10**6, "nothing more")


def test_a_log_that_is_none(tmp_path: Path) -> None:
    path = tmp_path / "log.txt"
    for line in ("Q dma 3 00", "W dma x 00", "W nobody 3 00", "P 3", "S npe 3 1"):
        path.write_text(f"D kv 1 000020\n{line}\n")
        with pytest.raises(InputError, match="line 2 of the log must be an event"):
            list(read_log(path))
    path.write_text("D kv 1 000020\nW dma 3 00")
    assert len(list(read_log(path))) == 1


def test_an_end_comes_last_in_its_cycle(tmp_path: Path) -> None:
    path = tmp_path / "log.txt"
    path.write_text("D kv 1 0\nK 1 5\nI npe 1 3\nS npe 2 a 7\nP 2 3\n")
    events = list(read_log(path))
    assert [one.kind.value for one in events] == ["I", "K", "D", "S", "P"]
    assert (events[3].word, events[3].payload, events[4].unit) == (10, 7, Unit.ROUTER)
