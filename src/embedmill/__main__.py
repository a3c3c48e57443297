"""``python -m embedmill``: the same as the command ``embedmill``."""

from embedmill.cli import main

if __name__ == "__main__":
    main()
