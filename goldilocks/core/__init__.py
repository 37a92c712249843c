"""What all stages share; nothing here knows a single stage."""
