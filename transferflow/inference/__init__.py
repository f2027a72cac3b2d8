"""Predictions of a bundle on new images, whole or in tiles. Which bundle is meant is known to `stages`."""
