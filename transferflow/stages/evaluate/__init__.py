"""The evaluate stage: the test images predicted and measured.

What a metric is stands in `transferflow.evaluation`.
"""
