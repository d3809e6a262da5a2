"""Small programs that are run as tests; keys and addresses come from the environment."""
