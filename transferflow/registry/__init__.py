"""Model versions and the promotion gate."""
