"""What a user may say on the command line; it imports no engine."""
