r"""``python -m fromnoise`` is the command line, for where no console script is at hand."""

from fromnoise.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
