"""What becomes of `make repro` when something goes wrong meanwhile: faults, injected into copies of the project.

No stage reads it, and no output of the pipeline depends on it.
"""
