"""The mathematics of the pipeline, usable from a notebook: it knows no stage."""
