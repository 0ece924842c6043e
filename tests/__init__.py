"""A package, so that pytest puts the root of the project on the path.

This folder in its place would hide the real ``models`` behind ``tests/models``.
"""
