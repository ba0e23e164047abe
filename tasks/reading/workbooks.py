"""Rows of a workbook (.xlsx), read as it streams by."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from zipfile import ZipFile

from tasks.errors import UserError
from tasks.reading.delimited import INDEX
from tasks.reading.parquet_rows import check_unfolded
from tasks.reading.rows import Row, listed, shown


def read_xlsx(path: str) -> Iterator[Row | UserError]:
    """The rows of the one sheet that has any, below its header; of a formula the value that was saved with it.

    Raises UserError on what is no workbook or unfolds beyond all proportion, several sheets with rows, a header with a gap,
    and a cell outside the header.
    """
    from openpyxl import load_workbook

    with open(path, "rb") as file:
        try:
            check_unfolded(path, sum(part.file_size for part in ZipFile(file).infolist()))
            book = load_workbook(file, read_only=True, data_only=True)
            sheets = {sheet.title: sheet for sheet in book.worksheets if any(cells for _, cells in _lines(sheet))}
            if len(sheets) > 1:
                raise UserError(f"{path}: several sheets hold rows ({listed(sheets)}); save the one that is meant as a file")
            for sheet in sheets.values():
                yield from _rows(path, _lines(sheet))
        except (UserError, OSError, MemoryError):
            raise
        except Exception as error:  # openpyxl tells a damaged file by whatever comes up while it reads
            reason = " ".join(str(error).split())[:200] or type(error).__name__
            raise UserError(f"{path} cannot be read as a workbook ({reason}); save it again as .xlsx, or as csv") from None


def _lines(sheet: Any) -> Iterator[tuple[int, list[Any]]]:
    """Number and cells of each row, without the empty ones at its end. An error such as #N/A is no value."""
    sheet.reset_dimensions()  # what the file says of its size is often wrong
    for number, row in enumerate(sheet.iter_rows(), 1):
        cells = [None if cell.value == "" or cell.data_type == "e" else cell.value for cell in row]
        while cells and cells[-1] is None:
            cells.pop()
        yield number, cells


def _rows(path: str, lines: Iterator[tuple[int, list[Any]]]) -> Iterator[Row | UserError]:
    number, header = next((line for line in lines if line[1]), (1, []))
    names = ["" if cell is None else str(cell).strip() for cell in header]
    where = f"{path} row {number}"
    if names[1:] and not names[0]:  # the index that pandas writes
        names[0] = INDEX
    if "" in names:
        raise UserError(
            f"{where}: column {names.index('') + 1} of the header has no name; give it one, or remove the column"
        )
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise UserError(f"{where}: two columns of the header are called {shown(twice)}; rename one")
    empty: dict[str, Any] = dict.fromkeys(name for name in names if name != INDEX)
    for number, cells in lines:
        where = f"{path} row {number}"
        if len(cells) > len(names):
            yield UserError(f"{where}: a cell stands outside the {len(names)} columns of the header; remove it")
        else:
            values = dict(zip(names, cells))
            values.pop(INDEX, None)
            yield Row(empty | values, where)
