"""Backbones, necks and heads, channel adaptation, layer groups."""
