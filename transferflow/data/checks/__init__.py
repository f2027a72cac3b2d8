"""What can be wrong with a data set as a whole: labels, sizes of splits, leaks, copies, masks.

Single files are `files`.
"""
