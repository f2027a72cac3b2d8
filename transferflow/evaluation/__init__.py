"""Metrics per task, intervals, calibration, comparison of two models."""
