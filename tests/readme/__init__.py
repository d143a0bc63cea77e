"""What ``tests/test_readme.py`` needs: the README read as blocks and tables, and its story run."""
