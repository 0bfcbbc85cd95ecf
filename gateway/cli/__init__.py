"""The `gateway` command. main.py puts it together; each group of commands has its own file."""
