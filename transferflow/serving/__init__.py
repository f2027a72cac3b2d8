"""A model behind HTTP. Which model that is, and that it changed, is told by the caller."""
