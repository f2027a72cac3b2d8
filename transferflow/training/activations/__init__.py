"""The activation cache: what the frozen part of a model computes of an image, computed once.

It stands on cuts (`models.cut`) and on shards (`store.shards`), and knows no model and no task.
"""
