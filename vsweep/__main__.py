"""`python -m vsweep` is the command `vsweep`, in a checkout too."""

from vsweep.cli.main import main

if __name__ == "__main__":
    main()
