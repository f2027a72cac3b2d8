"""The command line: one module per command group, and how results look on a terminal. Decides nothing."""
