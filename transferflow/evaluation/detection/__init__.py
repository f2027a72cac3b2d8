"""Measures of boxes as COCO takes them, and how boxes are matched to the truth."""
