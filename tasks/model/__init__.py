"""A folder or a Hub id to tokenizer and model."""
