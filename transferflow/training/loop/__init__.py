"""The training loop: epochs and steps, what is best, when to stop. Writes nothing but checkpoints."""
