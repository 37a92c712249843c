"""The charts of the page that readers can move."""
