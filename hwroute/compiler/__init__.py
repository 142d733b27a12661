"""From shape, policy and configuration to a Program and its memory map (docs/compiler.md)."""
