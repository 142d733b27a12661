"""The whole machine in a simulator, and beside it the interpreter."""
