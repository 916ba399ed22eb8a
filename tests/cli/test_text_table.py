"""Tables that fit a terminal."""

from hypothesis import given
from hypothesis import strategies as st

from yannctl.cli.console import Output
from yannctl.cli.text_table import text_table, wrapped

WORDS = st.text("abcdefgh-%.0123456789", min_size=1, max_size=12)
CELLS = st.lists(WORDS, min_size=0, max_size=5).map(" ".join)
TABLES = st.integers(1, 9).flatmap(
    lambda n: st.tuples(
        st.lists(WORDS, min_size=n, max_size=n), st.lists(st.lists(CELLS, min_size=n, max_size=n), max_size=4)
    )
)


@given(TABLES, st.integers(40, 90))
def test_no_line_is_too_long_and_no_word_is_broken_or_lost(table, width):
    columns, rows = table
    lines = text_table(columns, rows, width)
    assert max(map(len, lines)) <= width
    shown = " ".join(lines).split()
    for word in [word for cell in [*columns, *(cell for row in rows for cell in row)] for word in cell.split()]:
        assert word in shown


def test_a_table_by_hand():
    lines = text_table(["who", "cost", "note"], [["a", "1.5", "all went well today"], ["bcd", "10 %", "no"]], 20)
    assert lines == [
        "who  cost  note",
        "---  ----  ---------",
        "a     1.5  all went",
        "           well",
        "           today",
        "bcd  10 %  no",
    ]


def test_a_table_too_wide_goes_on_below_with_its_first_column():
    lines = text_table(["name", "first", "second"], [["x", "aaaaaaaa", "bbbbbbbb"]], 14)
    assert lines == [
        "name  first",
        "----  --------",
        "x     aaaaaaaa",
        "",
        "name  second",
        "----  --------",
        "x     bbbbbbbb",
    ]


def test_numbers_keep_their_sign_of_per_cent():
    assert wrapped("at most 90 %: of all", 12) == ["at most", "90 %: of all"]


def test_a_printed_table_keeps_eighty_columns_without_a_terminal(capsys, monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)
    Output(False).table("T" * 30 + " title", ["a", "b"], [["word " * 30, "word " * 30]], "what they mean " * 10)
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 80
