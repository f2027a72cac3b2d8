"""Measures of labels, one per image or several, and the curves that a report draws of them."""
