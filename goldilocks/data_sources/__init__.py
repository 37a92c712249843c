"""The places inputs may come from, one module each; every one fills a folder in the same layout."""
