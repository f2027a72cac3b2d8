"""Metrics per task, their intervals, calibration, and the comparison of two models. Draws nothing."""
