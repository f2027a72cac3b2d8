"""Checkpoints of a training: what is in one, how it is written and read, which are kept."""
