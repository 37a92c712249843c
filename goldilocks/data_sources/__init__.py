"""The sources of inputs, one module each; every source fills a folder in the same layout."""
