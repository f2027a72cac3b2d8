"""Semantic segmenters: torchvision's own, and its heads or a light one on any backbone."""
