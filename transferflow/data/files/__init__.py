"""Single files: where they lie, what pixels and boxes they hold.

What they mean together is `formats` and `checks`.
"""
