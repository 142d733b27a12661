"""The overlay's instruction set: one table, and what is generated from it (docs/isa.md)."""
