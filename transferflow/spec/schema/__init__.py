"""The spec described for editors and readers: JSON schema, examples, and docs/spec-reference.md."""
