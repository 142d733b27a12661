"""Checkpoints of other projects, made into model folders (docs/model-folder.md)."""
