"""Images of a snapshot in batches, in an order fixed by the seed, and the cache of decoded ones."""
