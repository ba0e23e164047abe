"""Rows of tables in text files, their cells separated by commas, tabs or semicolons."""

from __future__ import annotations

import csv
import logging
import re
from collections import Counter
from collections.abc import Iterator

from tasks.errors import UserError
from tasks.reading.charset import first_line, open_text
from tasks.reading.rows import Row, listed, shown

logger = logging.getLogger(__name__)

#: Characters in one cell. Far above any article, low enough that a quote that is never closed cannot fill the memory.
CELL_LIMIT = 1 << 24

SEPARATORS = {",": "commas", "\t": "tabs", ";": "semicolons", "|": "bars"}

#: What Excel reads and writes as a first line of its own.
SEP_LINE = re.compile(r'"?sep=(.)"?\s*', re.IGNORECASE)


def read_table(usual: str, path: str) -> Iterator[Row | UserError]:
    """A table whose cells are separated by tabs, commas or semicolons; by ``usual`` where its header has none of them."""
    delimiter, _ = separator_of(path, usual)
    if delimiter != usual:
        logger.info("%s: its cells are separated by %s", path, SEPARATORS[delimiter])
    if delimiter != "\t":
        yield from _read_csv(path, delimiter)
        return
    # Spreadsheets quote tsv cells; public Korean sets (KorNLI, NSMC) do not, and begin cells with a bare quotation
    # mark. A file in which every quotation mark makes sense as quoting is quoted.
    try:
        damaged = _damaged(path, csv.QUOTE_MINIMAL)
        quoting = csv.QUOTE_NONE if damaged and _damaged(path, csv.QUOTE_NONE) < damaged else csv.QUOTE_MINIMAL
    except _Ambiguous:
        raise
    except UserError:
        quoting = csv.QUOTE_NONE
    yield from _read_csv(path, "\t", quoting)


def _damaged(path: str, quoting: int) -> int:
    """How many rows have more or fewer cells than the header."""
    return sum(isinstance(row, UserError) for row in _read_csv(path, "\t", quoting))


def separator_of(path: str, usual: str = "") -> tuple[str, list[str]]:
    """What separates the cells of a table, and its header: of ``SEPARATORS`` the one in it that most cells are made by.

    Without any of them it is ``usual``. Raises UserError where two make as many; without ``usual`` it may be no table.
    """
    csv.field_size_limit(CELL_LIMIT)  # of the whole process; the default, 131,072, is shorter than some articles
    line = first_line(path)
    if told := SEP_LINE.fullmatch(line):
        if told[1] not in SEPARATORS:
            raise UserError(f"{path} line 1: {told[1]!r} separates the cells; save it with commas, tabs or semicolons")
        return told[1], next(csv.reader([first_line(path, skip=1)], delimiter=told[1]), [])
    headers = {mark: next(csv.reader([line], delimiter=mark), []) for mark in SEPARATORS}
    most = max(map(len, headers.values()))
    found = [mark for mark in headers if len(headers[mark]) == most] if most > 1 else [usual or "\t"]
    if len(found) > 1 and usual:
        which = " or ".join(SEPARATORS[mark] for mark in found)
        raise UserError(f"{path} line 1: its cells could be separated by {which}; put names that hold one in double quotes")
    return found[0], headers[found[0]]


#: Columns without a name at the beginning and at the end of a header, which are not read.
INDEX, LAST = "\0index", "\0last"


class _Ambiguous(UserError):
    """Quotation marks may hold lines together or be text, and the file makes sense either way."""


def _read_csv(path: str, delimiter: str = ",", quoting: int = csv.QUOTE_MINIMAL) -> Iterator[Row | UserError]:
    """Rows of a table with a header. ``where`` is the line of the file where the row begins: cells may span several."""
    widths: set[int] = set()  # cells of each line if quotation marks meant nothing
    last = ""

    def lines() -> Iterator[str]:
        nonlocal last
        with open_text(path, newline="") as file:
            for line in file:
                # A blank line in the place of "sep=,", so that those after it keep their numbers.
                last = "\n" if SEP_LINE.fullmatch(line) and not widths else line
                if not last.isspace():
                    widths.add(last.count(delimiter) + 1)
                yield last

    reader = csv.reader(lines(), delimiter=delimiter, quoting=quoting, strict=True)
    header: list[str] = []
    ends: set[str] = set()
    line, spanning = 1, ""
    try:
        for cells in reader:
            where = f"{path} line {line}"
            if reader.line_num > line:
                spanning = spanning or where
            line = reader.line_num + 1
            ends |= {"\r", "\n"} & set(last[-1:])
            if len(ends) > 1:  # csv.writer of Python 3.11 leaves a \r in a cell without quotes
                problem = "some rows end in a bare carriage return, others do not"
                raise UserError(f"{where}: {problem}; quote cells with line breaks")
            if not cells:  # a blank line
                continue
            if header:
                yield _row(cells, header, where)
            else:
                header = _header(cells, where)
    except csv.Error as error:
        raise UserError(f"{path} line {line}: {error}; inside a quoted cell write a double quote twice") from None
    # Lines of one cell say nothing: in csv, where quoting is the rule, a text of several lines is quoted and no more.
    if spanning and widths == {len(header)} and (len(header) > 1 or delimiter == "\t"):
        reason = f"hold lines together here, but every line of the file has {len(header)} cells without them, too"
        way_out = "write a quotation mark that is text twice, in quotes, or save the file as jsonl"
        raise _Ambiguous(f"{spanning}: quotation marks {reason}; {way_out}")


def _row(cells: list[str], header: list[str], where: str) -> Row | UserError:
    """A row of a table, or what is wrong with it. Raises UserError where the header stands there once more."""
    if len(cells) == len(header) + 1 and not cells[-1]:  # a separator at the end of each row, but not of the header
        cells = cells[:-1]
    if len(cells) != len(header):
        problem = f"{len(cells)} cells, but the header has {len(header)} ({listed(header).replace(chr(0), '')})"
        return UserError(f"{where}: {problem}; put cells that hold a separator or a line break in double quotes")
    if len(cells) > 1 and cells == header:
        raise UserError(f"{where}: the header stands here once more, as where files were joined; remove it")
    values = dict(zip(header, cells, strict=True))
    values.pop(INDEX, None)
    if values.pop(LAST, ""):
        return UserError(f"{where}: its last cell has no name in the header; name that column, or quote commas")
    return Row(values, where)


def _header(cells: list[str], where: str) -> list[str]:
    """Column names. Space around them is never meant; inside cells it is left alone."""
    names = [cell.strip() for cell in cells]
    if len(names) > 1:  # the index that pandas writes, and a separator at the end of the line
        names[0], names[-1] = names[0] or INDEX, names[-1] or LAST
    if "" in names:
        raise UserError(f"{where}: column {names.index('') + 1} of the header has no name; give it one")
    name, count = Counter(names).most_common(1)[0]
    if count > 1:
        raise UserError(f"{where}: two columns of the header are called {shown(name)}; rename one")
    return names
