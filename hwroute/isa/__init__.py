"""The overlay's instruction set: one table, and what follows from it."""
