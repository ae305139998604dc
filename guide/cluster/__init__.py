"""What the command line, the web page and the operator share about clusters."""
