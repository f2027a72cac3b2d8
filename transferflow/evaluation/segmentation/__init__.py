"""Measures of masks, from what each image counts."""
