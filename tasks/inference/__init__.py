"""What a trained model says: generation, scoring, and loading it for either."""
