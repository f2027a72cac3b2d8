"""YAML text to a tree that knows its places. What the keys mean is `sections`."""
