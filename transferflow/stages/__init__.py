"""Prepare, train, evaluate and register as plain functions, and the plan."""
