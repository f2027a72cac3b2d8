"""Model versions and the promotion gate. What is measured for the gate comes from `stages`."""
