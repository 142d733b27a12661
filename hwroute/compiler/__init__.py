"""From shape, policy and configuration towards a Program: memories, buffers, tokens."""
