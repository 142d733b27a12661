# amaranth: UnusedElaboratable=no
"""Sequencer and router unit together: branches see the planes as instructions left them."""

from random import Random
from typing import Any

import pytest
from amaranth.hdl import Module
from amaranth.lib import wiring

from hwroute.config import PRESETS, Config
from hwroute.csr import Error
from hwroute.isa.fields import Register, Unit
from hwroute.isa.instruction import Instruction, unit_mask
from hwroute.isa.table import BY_NAME
from hwroute.rtl.sequencer import Sequencer
from hwroute.rtl.tile_router import TileRouter
from hwroute.sequencer_config import SequencerConfig

TILE = 16
MODES = BY_NAME["decide"].by_name["mode"].choices
SKIP = MODES.index("skip")
INSIDE = ("issue_router", "done_router", "plane_any")


class Routed(wiring.Component):
    """A sequencer with its router unit, which gets no logits."""

    def __init__(self, config: Config):
        self.sequencer = Sequencer(SequencerConfig())
        self.router = TileRouter(config, requesters=())
        members = dict(self.sequencer.signature.members)
        super().__init__({name: one for name, one in members.items() if name not in INSIDE})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.sequencer = sequencer = self.sequencer
        m.submodules.router = router = self.router
        for name, member in self.signature.members.items():
            ours, theirs = getattr(self, name), getattr(sequencer, name)
            if not member.is_port:
                wiring.connect(m, wiring.flipped(ours), theirs)
            elif member.flow is wiring.In:
                m.d.comb += theirs.eq(ours)
            else:
                m.d.comb += ours.eq(theirs)
        wiring.connect(m, sequencer.issue_router, router.issue)
        wiring.connect(m, router.done, sequencer.done_router)
        m.d.comb += [router.rows.eq(sequencer.rows), sequencer.plane_any.eq(router.plane_any)]
        return m


def program(random: Random) -> tuple[list[int], list[int]]:
    """Return words, and the indices of the instructions that DMA is given."""
    # Planes stay from run to run.
    words = [Instruction("set", {"d": Register.ROWS, "value": TILE})]
    words += [Instruction("decide", {"to": plane, "pitch": 1, "mode": SKIP}) for plane in (1, 2, 3)]
    given: list[int] = []
    planes = [[False] * TILE for _ in range(4)]
    for _ in range(25):
        rows = random.randint(1, TILE)
        plane = random.randint(1, 3)
        mode = random.choice(["execute", "skip"])
        words.append(Instruction("set", {"d": Register.ROWS, "value": rows}))
        decide = {"to": plane, "pitch": 1, "mode": MODES.index(mode)}
        words.append(Instruction("decide", decide))
        planes[plane][:rows] = [mode == "execute"] * rows
        # The second branch finds the router idle, and rows that were set just before.
        for _ in range(2):
            if random.random() < 0.7:
                rows = random.randint(1, TILE)
                words.append(Instruction("set", {"d": Register.ROWS, "value": rows}))
            plane = random.randint(0, 3)
            branch = {"plane": plane, "wait": unit_mask([Unit.ROUTER]), "target": len(words) + 2}
            words.append(Instruction("branch.empty", branch))
            if plane == 0 or any(planes[plane][:rows]):
                given.append(len(words))
            words.append(Instruction("load", {"lines": 1}))
    words.append(Instruction("halt", {}))
    return [one.encode() for one in words], given


@pytest.mark.parametrize("speed", ["quick", "slow"])
def test_branches_see_what_the_router_wrote(bench: Any, speed: str) -> None:
    sequencer = bench(dut=Routed(PRESETS["demo"]))
    chances = bench.slow if speed == "slow" else bench.chances()
    programs = [program(Random(seed)) for seed in range(3)]
    jobs = [sequencer.job(words, chances=chances, tile=TILE) for words, _ in programs]
    for (_, given), outcome in zip(programs, sequencer.run_all(jobs), strict=True):
        assert outcome.error is Error.NONE
        assert [one.index for one in outcome.of(Unit.DMA)] == given
        assert 15 < len(given) < 45, "some of 50 branches are taken, some are not"
