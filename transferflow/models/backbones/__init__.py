"""One module per backbone source."""
