"""Softmax: what is said of its rows, the scalings of its logits, the Goldilocks zone, and number formats."""
