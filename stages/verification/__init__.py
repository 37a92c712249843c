"""Does a rebuild give what is committed? Contents, tolerances, rebuilding in a clone, telling."""
