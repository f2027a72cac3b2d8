"""Rules that span sections, each a pure function from the sections to what breaks it."""
