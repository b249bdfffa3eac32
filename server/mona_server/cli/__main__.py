"""``python -m mona_server.cli`` is the program ``mona``."""

from mona_server.cli import main

if __name__ == "__main__":
    main()
