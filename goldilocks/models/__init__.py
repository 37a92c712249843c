"""Anyone's model, looked at as Model 5 is: its attention, its Q, K and V over a training, and both while it trains."""
