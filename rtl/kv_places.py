"""Free places of the history buffer's banks, and the choice of a bank for an entry to be kept."""

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

from hwroute.config import KVConfig
from hwroute.rtl.kv_layouts import bits
from hwroute.rtl.select import least


class KVPlaces(wiring.Component):
    """Offer a bank and a place in it; take back places.

    Each bank hands out places first in, first out: 0, 1, 2, ... after `clear`, then those given
    back. A place given back is free from the next `begin_round` on; a bank is offered once a round.
    The offer is the bank with the fewest entries for the next layer (`load`), the lowest number
    first. It follows what it depends on by two cycles: it must be used no sooner.

    Parameters
    ----------
    config : :class:`KVConfig`
        Banks and places.

    Members
    -------
    clear : ``In(1)``, forget everything: all places free, no load
    begin_round : ``In(1)``
    clear_load : ``In(1)``, forget the load only
    count, count_bank : ``In``, add an entry that stays in place to a bank's load
    offer, bank, place : ``Out``, whether there is a place, and where
    take : ``In(1)``, the offer is used
    give, give_bank, give_place : ``In``, return a place
    """

    def __init__(self, config: KVConfig):
        self.config = config
        bank, place = bits(config.buffer_banks), bits(config.bank_places)
        super().__init__(
            {
                "clear": In(1),
                "begin_round": In(1),
                "clear_load": In(1),
                "count": In(1),
                "count_bank": In(bank),
                "offer": Out(1),
                "bank": Out(bank),
                "place": Out(place),
                "take": In(1),
                "give": In(1),
                "give_bank": In(bank),
                "give_place": In(place),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        banks, places = self.config.buffer_banks, self.config.bank_places
        place_bits = bits(places)
        m.submodules.ring = ring = memory.Memory(shape=place_bits, depth=banks * places, init=[])
        ring_read, ring_write = ring.read_port(domain="comb"), ring.write_port()
        able = Signal(banks)
        loads = []
        taken = [Signal(place_bits + 1, name=f"taken_{bank}") for bank in range(banks)]
        given = [Signal(place_bits, name=f"given_{bank}") for bank in range(banks)]
        for bank in range(banks):
            takes = self.take & (self.bank == bank)
            gives = self.give & (self.give_bank == bank)
            m.d.comb += able[bank].eq(self._bank_able(m, bank, takes, gives))
            loads.append(self._bank_load(m, bank, takes))
            with m.If(self.clear):
                m.d.sync += [taken[bank].eq(0), given[bank].eq(0)]
            with m.Elif(takes):
                # The top bit stays set once the first lap is over.
                m.d.sync += taken[bank].eq((taken[bank] + 1) | (taken[bank] & places))
            with m.Elif(gives):
                m.d.sync += given[bank].eq(given[bank] + 1)
        choice = least(m, able, loads, "best")
        m.d.sync += [self.offer.eq(choice.any), self.bank.eq(choice.number)]
        chosen = Signal(place_bits + 1)
        m.d.comb += [
            chosen.eq(_of(taken, self.bank)),
            ring_read.addr.eq(Cat(chosen[:place_bits], self.bank)),
            self.place.eq(Mux(chosen[place_bits], ring_read.data, chosen[:place_bits])),
            ring_write.addr.eq(Cat(_of(given, self.give_bank), self.give_bank)),
            ring_write.data.eq(self.give_place),
            ring_write.en.eq(self.give),
        ]
        return m

    def _bank_able(self, m: Module, bank: int, takes: Any, gives: Any) -> Any:
        """Keep a bank's number of free places; return whether it may be offered."""
        free = Signal(range(self.config.bank_places + 1), name=f"free_{bank}")
        returned = Signal(name=f"returned_{bank}")
        written = Signal(name=f"written_{bank}")
        with m.If(self.clear):
            m.d.sync += [free.eq(self.config.bank_places), returned.eq(0), written.eq(0)]
        with m.Elif(self.begin_round):
            m.d.sync += [free.eq(free + returned), returned.eq(0), written.eq(0)]
        with m.Else():
            with m.If(takes):
                m.d.sync += [free.eq(free - 1), written.eq(1)]
            with m.If(gives):
                m.d.sync += returned.eq(1)
        return (free != 0) & ~written

    def _bank_load(self, m: Module, bank: int, takes: Any) -> Signal:
        """Return the number of a bank's entries that are for the next layer."""
        load = Signal(range(self.config.bank_places + 1), name=f"load_{bank}")
        with m.If(self.clear | self.clear_load):
            m.d.sync += load.eq(0)
        with m.Elif(takes | (self.count & (self.count_bank == bank))):
            m.d.sync += load.eq(load + 1)
        return load


def _of(signals: list[Signal], number: Any) -> Any:
    """Return the signal with that number."""
    return Cat(signals).word_select(number, len(signals[0]))
