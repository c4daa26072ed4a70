"""What README.md and docs/findings.md say of the shipped studies: every number from a table in docs/data."""
