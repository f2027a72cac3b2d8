"""Data sets: from files to batches.

How a model sees a batch is `models`; what a label means for a task is `tasks`.
"""
