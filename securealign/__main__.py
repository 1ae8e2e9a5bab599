"""`python -m securealign`: the command line."""

from securealign.cli import main

if __name__ == "__main__":
    main()
