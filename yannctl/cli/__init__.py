"""The command line: `yannctl --help`."""
