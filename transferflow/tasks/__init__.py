"""One module per vision task: binds model, loss, metrics and rendering.

No other layer asks which task it is.
"""
