"""The time and memory of one forward step: facts (operator table) times fits (shares of datasheet
peaks)."""
