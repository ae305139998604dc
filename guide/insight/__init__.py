"""What explains an answer and decides nothing."""
