"""The page that people decide by, and the card that goes with the model."""
