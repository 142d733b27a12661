"""Numerics, measured: what each design of a PE column costs in accuracy (docs/numerics.md)."""
