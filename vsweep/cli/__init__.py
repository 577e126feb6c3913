"""The command line: flags in, one list of problems out, and the commands themselves."""
