"""A data set in an object store: listed there, and held on this machine's disk for as long as it is used.

What reads images knows none of it: it is given a folder.
"""
