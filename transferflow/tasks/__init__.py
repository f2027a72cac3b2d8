"""One module per vision task: binds model, loss, metrics and rendering."""
