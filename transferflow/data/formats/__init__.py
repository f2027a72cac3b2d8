"""One module per data format: files to records."""
