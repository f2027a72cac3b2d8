"""Prepare, train, evaluate and register as plain functions, and the plan of them.

What Prefect adds is `pipelines`.
"""
