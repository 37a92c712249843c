"""Read the norms of any checkpoint: only its header and the bytes of the norms."""
