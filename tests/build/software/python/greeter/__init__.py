"""Greets whom its arguments name."""

import sys


def main():
    print("hello", *sys.argv[1:])
