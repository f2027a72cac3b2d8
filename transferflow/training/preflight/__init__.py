"""Preflight: one real batch before the first epoch. It takes no step, and leaves everything as it was."""
