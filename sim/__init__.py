"""Running things: Verilator with cocotb, and the performance model."""
