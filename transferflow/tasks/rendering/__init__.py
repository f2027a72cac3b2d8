"""Predictions and truths as pictures and files. What is right or wrong is `evaluation`."""
