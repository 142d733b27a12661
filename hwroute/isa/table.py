"""The instruction table: every opcode, its fields and its meaning, written once.

Encoder and decoder (`hwroute.isa.instruction`) follow it.
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
