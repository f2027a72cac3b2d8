"""Detectors: torchvision's own, and torchvision's heads on any backbone of the project."""
