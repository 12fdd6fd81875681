"""What columns, groups and clients are called."""

from accord.reports.words.labels import client_label, column_label, group_label


def test_a_group_is_called_without_its_column_and_on_one_line() -> None:
    assert group_label("sex*race=Female,\nWhite", "sex*race") == "Female, White"
    assert group_label("sex=a=b", "sex") == "a=b"
    assert group_label("sex=abcdef", "sex", 4) == "abc…"


def test_a_crossed_column_has_a_sign_between_its_names() -> None:
    assert column_label("sex*race*age") == "sex × race × age"


def test_a_client_is_called_by_its_name_where_it_has_one() -> None:
    assert client_label({"client": 0, "name": ""}) == "client 0"
    assert client_label({"client": 0, "name": "north\x1b"}) == "north�"
