"""A data set at one moment: inspected, split, written down, compared with another.

Training reads it through `loading`.
"""
