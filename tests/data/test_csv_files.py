r"""CSV: values that other readers destroy survive, and faults are named with their line."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fromnoise.data import (
    fit_encoding,
    load,
)
from fromnoise.data.csv_files import refuse_misfit
from fromnoise.errors import DataError


@pytest.fixture
def read(tmp_path):
    def read(content, **arguments):
        path = tmp_path / "table.csv"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return load(str(path), **arguments)

    return read


# ------------------------------------------------------------------ CSV: values
def test_c8_values_that_other_readers_destroy_survive(read):
    X = read(
        "category,zip,id,number\n"
        "NA,00123,9007199254740993,1.5\n"
        "null,00124,,NA\n"
        "None,00123,-5,\n"
        "n/a,00200,7,1e3\n"
    ).X
    assert X["category"].tolist() == ["NA", "null", "None", "n/a"]
    assert X["zip"].tolist() == ["00123", "00124", "00123", "00200"]
    assert str(X["id"].dtype) == "Int64" and X["id"].tolist() == [2**53 + 1, pd.NA, -5, 7]
    assert X["number"].dtype == float and X["number"].isna().tolist() == [False, True, True, False]
    encoding = fit_encoding(X)
    again = encoding.decode(encoding.encode(encoding.check(X)))
    pd.testing.assert_frame_equal(again, X)
    text = again.to_csv(index=False)
    pd.testing.assert_frame_equal(read(text).X, X)


def test_c8_a_number_too_large_is_refused_with_its_line(read):
    with pytest.raises(DataError, match="column 'a' holds '1e400' on line 3, too large"):
        read("a,b\n1,2\n1e400,3\n")
    with pytest.raises(DataError, match="holds '-inf' on line 2"):
        read("a,b\n-inf,2\n1,3\n")
    assert read("a,b\ninf,2\nx,3\n").X["a"].tolist() == ["inf", "x"]


def test_a_few_fields_that_make_text_of_a_column_are_noted(read):
    rows = [f"{i}.5,2024-01-{1 + i % 28:02},k{i},{i:02}" for i in range(40)]
    assert read("\n".join(["a,b,c,d", *rows])).note == ()
    rows[7], rows[9] = "l7.5,2024-13-01,k,NA", "?,,k,07"
    data = read("\n".join(["a,b,c,d", *rows]))
    assert data.X["a"][7] == "l7.5" and data.X["b"][7] == "2024-13-01"
    assert data.note == (
        "'a' is text, though its other fields are numbers, for 'l7.5' on line 9 and 1 more",
        "'b' is text, though its other fields are dates, for '2024-13-01' on line 9",
    )


def test_integers_of_all_sizes(read):
    X = read(f"a,b,c,d\n{2**63},{-(2**63)},{2**64},-0\n{2**64 - 1},{2**63 - 1},1,3\n").X
    assert X["a"].dtype == np.uint64 and X["a"].tolist() == [2**63, 2**64 - 1]
    assert X["b"].dtype == np.int64 and X["b"].tolist() == [-(2**63), 2**63 - 1]
    assert X["c"].tolist() == [str(2**64), "1"]
    assert X["d"].tolist() == [0, 3]


@pytest.mark.parametrize(
    "field", ["1_000", "0x10", "١", "1,5", "00.5", "1e", "+", ".", "1 2", "--1"]
)
def test_what_only_looks_like_a_number_is_text(read, field):
    assert read(f'a,b\n"{field}",1\n2,3\n').X["a"].tolist() == [field, "2"]


@pytest.mark.parametrize("field", ["+1.5", "-.5", "2.", "1E-3", " 7", "1e+2"])
def test_numbers_in_any_usual_writing(read, field):
    assert read(f"a,b\n{field},1\n0.25,3\n").X["a"].tolist() == [float(field), 0.25]


def test_booleans_dates_and_empty_columns(read):
    X = read(
        "t,h,d,s,z,mixed,e,bad\n"
        "true,True,2020-01-31,2020-01-31T10:00:00.5,2020-01-31 10:00Z,"
        "2020-01-01T00:00+01:00,,2023-02-30\n"
        "false,,2020-02-29,2020-01-31 10:00,2020-07-01T00:00:00Z,"
        "2020-01-01T00:00+02:00,,2023-02-28\n"
    ).X
    assert X["t"].dtype == bool and X["t"].tolist() == [True, False]
    assert str(X["h"].dtype) == "boolean" and X["h"].isna().tolist() == [False, True]
    assert X["d"].tolist() == [pd.Timestamp("2020-01-31"), pd.Timestamp("2020-02-29")]
    assert X["s"][0] == pd.Timestamp("2020-01-31T10:00:00.5")
    assert X["z"][0] == pd.Timestamp("2020-01-31T10:00", tz="UTC")
    assert X["mixed"].tolist() == ["2020-01-01T00:00+01:00", "2020-01-01T00:00+02:00"]
    assert X["e"].dtype == float and X["e"].isna().all()
    assert X["bad"].tolist() == ["2023-02-30", "2023-02-28"]
    assert read("a,b\ntrue,1\nFalse,2\n").X["a"].tolist() == ["true", "False"]
    assert read("a,b\ntrue,1\nyes,2\n").X["a"].tolist() == ["true", "yes"]


def test_a_date_beside_na_is_text(read):
    assert read("a,b\n2020-01-01,1\nNA,2\n").X["a"].tolist() == ["2020-01-01", "NA"]
    assert read("a,b\n2020-01-01,1\n,2\n").X["a"].isna().tolist() == [False, True]
    assert read("a,b\nNA,1\nNA,2\n").X["a"].tolist() == ["NA", "NA"]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(
    text=st.lists(
        st.text(st.characters(codec="utf-8", exclude_characters="\0\r"), min_size=1),
        min_size=2,
        max_size=8,
    ),
    start=st.integers(-(2**63), 2**63 - 9),
)
def test_what_is_written_is_read_back(read, text, start):
    # A first entry that is no number makes the column text, whatever the others look like.
    frame = pd.DataFrame(
        {"text": ["x", *text], "whole": [start + i for i in range(len(text) + 1)]}
    )
    again = read(frame.to_csv(index=False)).X
    assert again["text"].tolist() == frame["text"].tolist()
    assert again["whole"].tolist() == frame["whole"].tolist()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(st.lists(st.floats(-1e150, 1e150), min_size=1))
def test_floats_are_read_to_the_last_bit(read, values):
    again = read("a,b\n" + "".join(f"{value!r},1\n" for value in values)).X["a"]
    assert again.astype(float).tolist() == values


# ------------------------------------------------------------------ CSV: faults
def test_c9_short_rows_are_refused_with_their_line_number(read):
    with pytest.raises(DataError, match="line 3: expected 2 fields as in the header, got 1"):
        read("a,b\n1,2\n3\n")


def test_c9_long_rows_are_refused_with_their_line_number(read):
    with pytest.raises(DataError, match="line 2: expected 2 fields as in the header, got 3"):
        read("a,b\n1,2,3\n4,5,6\n")
    with pytest.raises(DataError, match=r"line 5: expected 2 .* got 3"):
        read('a,b\n"1\n\n",2\n3,4,5\n')


def test_blank_lines_are_gaps_only_in_a_single_column(read):
    assert len(read("a,b\n1,2\n\n3,4\n\n").X) == 2
    assert read("a\n1\n\n3\n").X["a"].tolist() == [1, pd.NA, 3]


@pytest.mark.parametrize("codec", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_c10_byte_order_marks_are_understood(read, codec):
    mark = "\ufeff" if codec in ("utf-16-le", "utf-16-be") else ""
    X = read((mark + "größe,b\n1,ü\n2,x\n").encode(codec)).X
    assert X.columns.tolist() == ["größe", "b"] and X["b"].tolist() == ["ü", "x"]


def test_c10_another_encoding_is_refused_with_byte_and_hint(read):
    content = "a,b\n1,ü\n2,x\n".encode("latin-1")
    with pytest.raises(DataError, match=r"not utf-8: byte 6 is wrong.*--encoding latin-1"):
        read(content)
    assert read(content, encoding="latin-1").X["b"].tolist() == ["ü", "x"]
    with pytest.raises(DataError, match="no encoding 'klingon'"):
        read(content, encoding="klingon")
    with pytest.raises(DataError, match="not utf-16-le: byte 8 is wrong"):
        read("\ufeffa,b".encode("utf-16-le") + b"\x00\xd8")


def test_c10_nul_is_refused_with_its_byte(read):
    with pytest.raises(DataError, match=r"NUL at byte 7: .*--encoding utf-16-le"):
        read("ä,b\n1,\x002\n")
    assert read("a,b\n1,2\n".encode("utf-16-le"), encoding="utf-16-le").X["b"].tolist() == [2]


def test_c10_an_open_quote_is_refused_with_its_line(read):
    with pytest.raises(DataError, match=r"record that starts on line 3 is broken.*left open"):
        read('a,b\n1,2\n3,"4\n5,6\n')


def test_c11_names(read):
    with pytest.raises(DataError, match="got twice: 'a'"):
        read("a,b,a\n1,2,3\n")
    names = ["", "line\nbreak", "🙂", "x" * 10_000, "$_$", "<script>", " spaced "]
    frame = pd.DataFrame([[1] * len(names), [2] * len(names)], columns=names)
    assert read(frame.to_csv(index=False)).X.columns.tolist() == names


@pytest.mark.parametrize(("mark", "name"), [(";", "semicolons"), ("\t", "tabs")])
def test_what_splits_the_first_line_splits_them_all(read, mark, name):
    data = read(f"a{mark}b,c{mark}d\n1,5{mark}x{mark}1\n-0,25{mark}y, z{mark}2\n".replace(
        "b,c", '"b,c"'))  # fmt: skip
    assert data.X.columns.tolist() == ["a", "b,c", "d"]
    assert data.X["a"].tolist() == [1.5, -0.25] and data.X["b,c"].tolist() == ["x", "y, z"]
    assert data.X["d"].dtype == np.int64
    assert data.note == (f"fields separated by {name}", "1,5 read as 1.5 in 'a'")
    with pytest.raises(DataError, match=f"line 3: expected 2 fields .* hold {name}"):
        read(f"a{mark}b\n1{mark}2\n3\n")


def test_a_decimal_comma_is_one_only_where_commas_do_not_separate(read):
    assert read('a,b\n"1,5",1\n"2,5",2\n').X["a"].tolist() == ["1,5", "2,5"]
    assert read("a;b\n1.234,5;1\n2,5;2\n").X["a"].tolist() == ["1.234,5", "2,5"]
    assert read("a;b\n1,5;1\n2.5;2\n").X["a"].tolist() == ["1,5", "2.5"]
    assert read("a;b\n1,5;1\nx;2\n").X["a"].tolist() == ["1,5", "x"]
    assert read("a;b\n1.5;1\n2.5;2\n").X["a"].tolist() == [1.5, 2.5]
    X = read("a;b\n1,5;1\nNA;2\n;2\n").X
    assert X["a"].isna().tolist() == [False, True, True] and X["a"][0] == 1.5


def test_two_marks_in_the_first_line_are_told_apart_by_the_rows(read):
    X = read("price, EUR;b\n1;2\n3;4\n").X
    assert X.columns.tolist() == ["price, EUR", "b"]
    X = read("a;old,b\n1,2\n3,4\n").X
    assert X.columns.tolist() == ["a;old", "b"]
    with pytest.raises(DataError, match="by commas and by semicolons: put quotation marks"):
        read("price, EUR;n\n1,5;3\n2,5;4\n")
    X = read('"price, EUR";n\n1,5;3\n2,5;4\n').X
    assert X["price, EUR"].tolist() == [1.5, 2.5]
    with pytest.raises(DataError, match="line 3: expected 2 fields"):  # neither: as with commas
        read("a;x,b\n1,2\n3\n")


def test_a_tsv_is_read_as_what_it_is(tmp_path):
    (tmp_path / "x.tsv").write_text("a\tb\n1\tx\n2\ty\n")
    assert load(tmp_path / "x.tsv").X["b"].tolist() == ["x", "y"]


def test_files_without_header_or_rows_are_refused(read):
    with pytest.raises(DataError, match="is empty"):
        read("")
    with pytest.raises(DataError, match="header but no rows"):
        read("a,b\n")


def test_a_hundred_thousand_characters_in_one_field(read):
    with pytest.raises(DataError, match="line 2 is broken"):
        read("a,b\n" + "x" * 200_000 + ",1\n")


def test_a_column_that_may_hold_text_is_not_read_again():
    refuse_misfit(Path("no/such/file.csv"), "city", "text", "fit")
    with pytest.raises(FileNotFoundError):
        refuse_misfit(Path("no/such/file.csv"), "fare", "real", "fit")
