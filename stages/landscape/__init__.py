"""The logits of attention's rows, what softmax makes of them, and at which scales it works."""
