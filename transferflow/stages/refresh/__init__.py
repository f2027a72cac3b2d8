"""Refresh: is there enough new in the data to train again? Looks, decides, remembers; does not train."""
