"""What a person is told about a broken spec: where, what is allowed, and what to write instead."""
