"""From a spec to what a run would do, without doing it."""
