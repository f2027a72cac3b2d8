"""From decoded pixels to what the model sees, for evaluation and for training.

Which images and when is `loading`.
"""
