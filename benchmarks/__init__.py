"""Speed and memory of the library against raw urllib3, as ratios taken in one run; see README.md beside this file."""
