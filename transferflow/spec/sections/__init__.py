"""The sections of a spec as pydantic models, each checked by itself. Rules between them are `rules`."""
