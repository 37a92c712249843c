"""The pipeline's stages, one module each; `dvc.yaml` says how they hang together."""
