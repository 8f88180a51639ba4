"""The native Python rules of Bazel 4 under the name by which newer Bazel loads them."""

py_binary = native.py_binary
py_library = native.py_library
py_test = native.py_test
