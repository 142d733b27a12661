"""The history buffer's books: where each token is, and what becomes of one that is served."""

from typing import Any

from amaranth.hdl import Assert, Module, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from hwroute.config import KVConfig
from hwroute.rtl.kv_layouts import bits, entry_layout, order_layout
from hwroute.rtl.kv_places import KVPlaces
from hwroute.rtl.ram import Ram


def location_layout(config: KVConfig) -> data.StructLayout:
    """Return where in the buffer a token is; bank and place mean nothing unless ``held``."""
    return data.StructLayout(
        {"held": 1, "bank": bits(config.buffer_banks), "place": bits(config.bank_places)}
    )


class KVKeeper(wiring.Component):
    """Look a token up, say how it is served, and keep the books when it is.

    `serve` must come at least two cycles after `begin_round`, `clear` or the last `serve`, at least
    one after `look`.

    Parameters
    ----------
    config : :class:`KVConfig`
        Banks, places, tokens.

    Members
    -------
    clear : ``In(1)``, forget everything
    clear_load : ``In(1)``, forget how many entries each bank has for the next layer
    count : ``In(1)``, add the token that was looked up, which stays in place, to its bank's
    begin_round : ``In(1)``
    look, look_at : ``In``, look a token up
    location : ``Out``, where it is, one cycle later; held
    token, entry, wish, hit : ``In``, that token, its directory entry, whether the next layer reuses
        it, and whether it is read from the buffer
    served : ``Out``, its part of the order
    serve : ``In(1)``, it is served so
    drop : ``In(1)``, it has no entry
    full : ``Out(1)``, the round has no write left
    spent : ``Out(1)``, it has none left after this cycle
    """

    def __init__(self, config: KVConfig):
        self.config = config
        token = bits(config.max_tokens)
        strobes = ("clear", "clear_load", "count", "begin_round", "look", "serve", "drop")
        super().__init__(
            {
                **{name: In(1) for name in strobes},
                "look_at": In(token),
                "location": Out(location_layout(config)),
                "token": In(token),
                "entry": In(entry_layout(config)),
                "wish": In(1),
                "hit": In(1),
                "served": Out(order_layout(config)),
                "full": Out(1),
                "spent": Out(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.places = places = KVPlaces(self.config)
        # Kept apart from `served`: a combinational block of emitted Verilog must not read a part of
        # the variable that it writes.
        keep, where = Signal(), Signal(location_layout(self.config))
        first = Signal()
        writes_left = Signal(range(self.config.buffer_write_ports + 1))
        m.d.comb += [
            places.clear.eq(self.clear),
            places.clear_load.eq(self.clear_load),
            places.begin_round.eq(self.begin_round),
            places.count.eq(self.count),
            places.count_bank.eq(self.location.bank),
            places.give_bank.eq(self.location.bank),
            places.give_place.eq(self.location.place),
            places.give.eq(self.serve & self.hit & ~self.wish),
            places.take.eq(self.serve & ~self.hit & keep),
            keep.eq(self.wish & (self.hit | places.offer)),
            where.held.eq(keep & ~self.drop),
            self.full.eq(writes_left == 0),
            self.spent.eq(writes_left == places.take),
        ]
        with m.If(self.hit):
            m.d.comb += [
                where.bank.eq(self.location.bank),
                where.place.eq(self.location.place),
            ]
        with m.Elif(keep):
            m.d.comb += [where.bank.eq(places.bank), where.place.eq(places.place)]
        self._describe(m, keep, where, first)
        self._locate(m, where)
        with m.If(self.begin_round):
            m.d.sync += [writes_left.eq(self.config.buffer_write_ports), first.eq(1)]
        with m.Elif(self.serve):
            m.d.sync += [
                writes_left.eq(writes_left - places.take),
                first.eq(0),
                Assert(~self.hit | self.location.held),
                Assert(~places.take | (writes_left != 0)),
            ]
        return m

    def _describe(self, m: Module, keep: Signal, where: Any, first: Signal) -> None:
        """Put the token's part of the order together."""
        m.d.comb += [
            self.served.end.eq(0),
            self.served.first.eq(first),
            self.served.token.eq(self.token),
            self.served.hit.eq(self.hit),
            self.served.source_layer.eq(self.entry.source_layer),
            self.served.port.eq(self.entry.port),
            self.served.slot.eq(self.entry.slot),
            self.served.keep.eq(keep),
            self.served.bank.eq(where.bank),
            self.served.place.eq(where.place),
        ]

    def _locate(self, m: Module, where: Any) -> None:
        """Keep where each token is."""
        row = location_layout(self.config)
        m.submodules.locations = locations = Ram(row, self.config.max_tokens)
        m.d.comb += [
            locations.read_addr.eq(self.look_at),
            locations.read_en.eq(self.look),
            self.location.eq(locations.read_data),
            locations.write_addr.eq(self.token),
            locations.write_data.eq(where),
            locations.write_en.eq(self.serve | self.drop),
        ]
