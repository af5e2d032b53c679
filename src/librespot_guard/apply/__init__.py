"""The only room that changes the machine. Standard library only, and as little of it as can be: the way back must start fast."""
