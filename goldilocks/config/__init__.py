"""What `params.yaml` may hold: one module for each of its sections, with what the stage sees of `run:`."""
