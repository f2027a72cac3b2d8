"""Backbones, necks, heads and whole models from them, with their layer groups.

How they learn is `training`.
"""
