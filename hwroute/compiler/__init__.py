"""From shape, policy and configuration to a Program: memories, buffers, instructions, tokens."""

from hwroute.compiler.compile import compile_program

__all__ = ["compile_program"]
