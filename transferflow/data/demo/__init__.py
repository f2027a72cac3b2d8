"""Small real data sets, made from data files that Python packages carry."""
