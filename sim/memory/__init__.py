"""Memories of a device, as the performance model times them."""
