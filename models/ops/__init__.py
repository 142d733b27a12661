"""Bit-true operators on NumPy arrays: what the RTL is compared with."""
