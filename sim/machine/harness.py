"""The Verilog around the machine: its clocks, memories and host, and a log of what it does.

The monitors look at nets inside the machine by their names; nothing in the machine knows of them.
`hwroute.sim.machine.log` says what they write.
"""

from collections.abc import Iterable, Iterator

from amaranth.hdl import Shape

from hwroute import csr
from hwroute.config import Config
from hwroute.isa.fields import QUEUED
from hwroute.rtl.axi import BURST_BYTES, DDR_PORT, HBM_PORT, AxiPort
from hwroute.rtl.csr import READ, WRITE
from hwroute.rtl.machine import HOST
from hwroute.rtl.scratchpad import WRITERS as SCRATCHPAD_WRITERS
from hwroute.rtl.statistics_layouts import WORD_NUMBER
from hwroute.rtl.statistics_memory import WRITERS as STATISTICS_WRITERS

TOP = "harness"
MACHINE = "hwroute_machine"
"""Name of the machine's module; its instance is ``machine``."""
LOG = "log.txt"
LOG_FILE = f'{{folder, "/{LOG}"}}, "w"'
WAVES = "waves.vcd"
DDR = "ddr"
LARGEST_DDR, LARGEST_HBM = 64 << 20, 16 << 20
"""Bytes of DDR, and of a port of HBM, that the host of a simulation has room for."""
MEMORY_CHANNELS = ("ar", "r", "aw", "w", "b")
HOST_BITS = {
    "aw": csr.ADDRESS_BITS,
    "w": WRITE.size,
    "b": 2,
    "ar": csr.ADDRESS_BITS,
    "r": READ.size,
}
"""Payloads of the registers."""
BAD_BITS = {"bad_memory": 8, "bad_from": 64, "bad_to": 64, "bad_read": 2, "bad_write": 2}
"""What the host sets to let the bus of a memory, by its number, fail."""
OWED_BITS = 16

HEAD = f"""\
`timescale 1ns / 1ns
module {TOP};
    integer half, memory_half, phase, memory_phase, latency, stall, seed, log;
    string folder;
    reg clk = 1'b0, memory_clk = 1'b0;
    reg [63:0] cycle = 0;
    wire rst, memory_rst;
    initial begin
        if (!$value$plusargs("folder=%s", folder)) $fatal(1, "missing +folder");
        if (!$value$plusargs("half=%d", half)) half = 1;
        if (!$value$plusargs("memory_half=%d", memory_half)) memory_half = 1;
        if (!$value$plusargs("latency=%d", latency)) latency = 1;
        if (!$value$plusargs("stall=%d", stall)) stall = 0;
        if (!$value$plusargs("seed=%d", seed)) seed = 1;
        log = 0;
        if ($test$plusargs("log")) log = $fopen({LOG_FILE});
        phase = 0;
        memory_phase = 0;
    end
    // A delay that is no constant might be 0: Verilator then evaluates every register twice.
    always begin
        #1;
        phase++;
        memory_phase++;
        if (phase == half) begin
            clk = !clk;
            phase = 0;
        end
        if (memory_phase == memory_half) begin
            memory_clk = !memory_clk;
            memory_phase = 0;
        end
    end
    always @(posedge clk) cycle <= machine.controller.started ? 0 : cycle + 1;
"""
WINDOW = f"""\
    reg [63:0] first;
    initial if ($value$plusargs("first=%d", first)) begin
        while (cycle < first) @(posedge clk);
        $dumpfile({{folder, "/{WAVES}"}});
        $dumpvars(0, {TOP});
    end
"""
"""Waves from the cycle ``+first`` on: Verilator cannot end them before the simulation."""


def memories(config: Config) -> dict[str, tuple[AxiPort, int]]:
    """Return port and beats of each memory, by name: DDR, then the ports of HBM.

    A memory of more than `LARGEST_DDR` or `LARGEST_HBM` bytes ends there: what lies behind answers
    as what lies behind the memory.
    """
    ddr = min(config.memory.ddr_bytes, LARGEST_DDR) // DDR_PORT.data_bytes
    beats = min(config.memory.hbm_port_bytes, LARGEST_HBM) // HBM_PORT.data_bytes
    hbm = {f"hbm_{port}": (HBM_PORT, beats) for port in range(config.kv.hbm_ports)}
    return {DDR: (DDR_PORT, ddr), **hbm}


def harness(config: Config, *, waves: bool = False) -> str:
    """Return the Verilog of the harness.

    Parameters
    ----------
    config
        Of the machine.
    waves
        Able to write waves.
    """
    ports = [".clk(clk)", ".rst(rst)", ".memory_clk(memory_clk)", ".memory_rst(memory_rst)"]
    lines = [HEAD, *(f"    wire [{bits - 1}:0] {name};" for name, bits in BAD_BITS.items())]
    sizes = memories(config)
    for number, (name, (port, beats)) in enumerate(sizes.items()):
        lines += _memory(name, number, port, beats)
        ports += _links(f"{name}__", MEMORY_CHANNELS)
    lines += _host(f"owed_{number}" for number in range(len(sizes)))
    ports += [".irq(irq)", *_links("", HOST)]
    lines.append(f"    {MACHINE} machine({', '.join(ports)});")
    lines += _monitors(config)
    return "\n".join([*lines, *([WINDOW] if waves else []), "endmodule\n"])


def _nets(prefix: str, channel: str, bits: int) -> Iterator[str]:
    """Declare the nets of a stream."""
    yield f"    wire [{bits - 1}:0] {prefix}{channel}__payload;"
    yield f"    wire {prefix}{channel}__valid, {prefix}{channel}__ready;"


def _links(prefix: str, channels: Iterable[str]) -> list[str]:
    """Connect streams of the machine to nets of the same names."""
    return [
        f".{net}({net})"
        for channel in channels
        for net in (f"{prefix}{channel}__{part}" for part in ("payload", "valid", "ready"))
    ]


def _memory(name: str, number: int, port: AxiPort, beats: int) -> Iterator[str]:
    """Place a memory, with nets of its own; each stalls by a seed of its own."""
    clock = "clk" if name == DDR else "memory_clk"
    settings = {
        "clk": clock,
        "rst": "memory_rst",
        "latency": "latency[15:0]",
        "stall": "stall[7:0]",
        "seed": f"seed + {number}",
        "bad_from": "bad_from",
        "bad_to": "bad_to",
        **{way: f"bad_memory == {number} ? {way} : 2'd0" for way in ("bad_read", "bad_write")},
        "owed": f"owed_{number}",
    }
    yield f"    wire [{OWED_BITS - 1}:0] owed_{number};"
    links = [f".{setting}({value})" for setting, value in settings.items()]
    for channel, member in port.signature().members.items():
        layout = member.signature.members["payload"].shape
        stream = f"{name}__{channel}"
        yield from _nets(f"{name}__", channel, Shape.cast(layout).width)
        links += [f".{channel}_{part}({stream}__{part})" for part in ("valid", "ready")]
        if channel == "b":
            links.append(f".b_response({stream}__payload)")
            continue
        for field_name, field in layout:
            low, width = field.offset, Shape.cast(field.shape).width
            links.append(f".{channel}_{field_name}({stream}__payload[{low} +: {width}])")
    sizes = {
        "DATA_BITS": port.data_bits,
        "LENGTH_BITS": port.length_bits,
        "BEATS": beats,
        "BURST": BURST_BYTES,
        "NAME": f'"{name}"',
    }
    parameters = ", ".join(f".{key}({value})" for key, value in sizes.items())
    yield f"    hwroute_axi_memory #({parameters}) memory_{name}({', '.join(links)});"


def _host(owed: Iterable[str]) -> Iterator[str]:
    """Place the host, which says what fails; what `b` says is no business of it."""
    nets = ("clk", "rst", "memory_rst", "irq", "cycle", *BAD_BITS)
    links = [*(f".{net}({net})" for net in nets), f".owed({' + '.join(owed)})"]
    yield "    wire irq;"
    for channel, bits in HOST_BITS.items():
        yield from _nets("", channel, bits)
        parts = ("valid", "ready") if channel == "b" else ("payload", "valid", "ready")
        links += [f".{channel}_{part}({channel}__{part})" for part in parts]
    yield f"    hwroute_host host({', '.join(links)});"


def _monitors(config: Config) -> Iterator[str]:
    """Write a line for each event of the last run: its start begins the log anew."""
    yield f"    reg [{config.array.accumulator_rows * config.memory.planes - 1}:0] planes;"
    yield "    initial planes = 0;"
    yield "    always @(posedge clk) if (log != 0 && !rst) begin"
    for unit in (unit.name.lower() for unit in QUEUED):
        for letter, stream in (("I", f"issue_{unit}"), ("D", f"done_{unit}")):
            yield _on_transfer(f"{letter} {unit}", f"controller.{stream}")
    for unit in SCRATCHPAD_WRITERS:
        yield _on_transfer(f"W {unit}", f"scratchpad.write_{unit}__request")
    for unit in STATISTICS_WRITERS:
        # The number of the word is known where the vectors are walked through.
        walk = f"statistics.write_{unit}_walk.o"
        word = WORD_NUMBER["word"]
        number = f"machine.{walk}__payload[{word.offset} +: {word.width}]"
        values = f"statistics.write_{unit}__values"
        yield _on_transfer(f"S {unit}", values, f"machine.{walk}__valid", number)
    yield _on_transfer("K", "kv.scheduler.slots")
    yield _on_transfer("O", "kv.scheduler.o")
    yield _line("machine.npe.token_valid", "T", ["machine.npe.token"])
    yield _line("machine.router.planes != planes", "P", ["machine.router.planes"])
    yield "        planes <= machine.router.planes;"
    yield "        if (machine.controller.started) begin"
    yield "            $fclose(log);"
    yield f"            log = $fopen({LOG_FILE});"
    yield "            planes <= 0;"
    yield "        end"
    yield "    end"


def _on_transfer(event: str, stream: str, also: str = "", number: str = "") -> str:
    """Write a line when a payload passes, with a number before it if there is one."""
    conditions = [f"machine.{stream}__{part}" for part in ("valid", "ready")]
    values = [number, f"machine.{stream}__payload"]
    return _line(" && ".join(filter(None, [*conditions, also])), event, [*filter(None, values)])


def _line(condition: str, event: str, values: list[str]) -> str:
    """Write a line with the cycle and some values."""
    text = f"{event} %0d{' %0h' * len(values)}"
    return f'        if ({condition}) $fdisplay(log, "{text}", cycle, {", ".join(values)});'
