"""Models in NumPy: checkpoints, float reference, bit-true operators and golden interpreter."""
