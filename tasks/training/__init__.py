"""From arguments and files to a trained model."""
