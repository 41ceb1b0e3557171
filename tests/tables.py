"""Saved tables, read as a spreadsheet reads them."""

import csv


def read_back(path: str) -> list[list[str]]:
    """Return the rows of a table."""
    with open(path, encoding="utf-8-sig", newline="") as file:
        return list(csv.reader(file))
