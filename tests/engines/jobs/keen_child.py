"""A computing process that yields to nobody: on a busy machine, a test waits for one that does for many seconds."""

from engines.jobs import child

if __name__ == "__main__":
    child.NICENESS = 0
    child.main()
