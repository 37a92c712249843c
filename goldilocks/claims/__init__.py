"""What turns metrics into verdicts."""
