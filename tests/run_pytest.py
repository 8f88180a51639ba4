"""Runs pytest on its arguments: the main program of every test under Bazel."""
import sys

import pytest

if __name__ == '__main__':
    sys.exit(pytest.main(['-p', 'no:cacheprovider'] + sys.argv[1:]))
