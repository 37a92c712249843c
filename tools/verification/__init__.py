"""Does a rebuild give the committed bytes? Clone, rebuild, compare."""
