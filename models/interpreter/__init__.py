"""The golden interpreter: run a Program over its memories, bit for bit."""

from hwroute.models.interpreter.journal import Journal
from hwroute.models.interpreter.run import Interpreter
from hwroute.models.interpreter.state import MachineError
from hwroute.models.interpreter.trace import ProgramTracer

__all__ = ["Interpreter", "Journal", "MachineError", "ProgramTracer"]
