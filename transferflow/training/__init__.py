"""Freeze policy, rates, the loop, checkpoints."""
