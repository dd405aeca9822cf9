"""The servers that are compared: each a program that a team would write with that library, and a way to start it."""
