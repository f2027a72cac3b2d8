"""One module per data format: what its files say, as records. No image is opened here, but for masks."""
