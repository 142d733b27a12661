"""The instruction table: every opcode, its fields and its meaning, written once.

Encoder, decoder, assembler, disassembler, the RTL's decoder and docs/isa-reference.md are all
generated from it.
"""

from collections.abc import Mapping

from hwroute.isa.compute import ARRAY, NPE, ROUTER
from hwroute.isa.control import CONTROL
from hwroute.isa.fields import Opcode
from hwroute.isa.memory import DMA, KV

TABLE = (*CONTROL, *DMA, *ARRAY, *NPE, *ROUTER, *KV)
"""Every instruction, in order of code."""
BY_NAME: Mapping[str, Opcode] = {opcode.name: opcode for opcode in TABLE}
BY_CODE: Mapping[int, Opcode] = {opcode.code: opcode for opcode in TABLE}
