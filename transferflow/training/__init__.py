"""Freeze policy, rates, the loop and checkpoints.

Knows no spec section but freezing and rates, and no task.
"""
