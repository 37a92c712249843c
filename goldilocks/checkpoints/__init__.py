"""The norms of any checkpoint, anywhere, by reading its header and their bytes and nothing else."""
