"""Claims and their criteria; turns metrics into verdicts."""
