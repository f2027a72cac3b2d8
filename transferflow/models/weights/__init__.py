"""Files of weights: fetched, locked, read with mistrust. Which file a backbone wants is `backbones`."""
