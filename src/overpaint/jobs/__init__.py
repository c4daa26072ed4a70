"""What every job does around its work: outputs whole or not at all, provenance, bundles (standard library only)."""
