"""python -m parties.provider: run the provider from a checkout."""

from securealign.provider.__main__ import main

if __name__ == "__main__":
    main()
