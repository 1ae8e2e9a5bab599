"""python -m parties.client: run the client from a checkout."""

from securealign.client.__main__ import main

if __name__ == "__main__":
    main()
