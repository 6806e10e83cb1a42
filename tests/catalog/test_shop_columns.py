"""Columns are found by the name mapped, by ours in any spelling, or by what shops say; the rest is named."""

from __future__ import annotations

import pytest

from packshot.catalog.shop.columns import LABELS, Columns, find_columns

ALL = ("path", "sku", "title", "description", "tags", "sender", "category")


def found(header: str, mapped: dict[str, str] | None = None, wanted: tuple[str, ...] = ALL) -> Columns:
    return find_columns(header.split(","), mapped or {}, wanted)


def named(header: str, mapped: dict[str, str] | None = None) -> dict[str, str]:
    columns = found(header, mapped)
    assert not columns.problems
    return {ours: header.split(",")[place] for ours, place in columns.places.items()}


def test_case_space_and_underscores_do_not_count() -> None:
    assert named("SKU, Title ,PATH") == {"sku": "SKU", "title": " Title ", "path": "PATH"}
    assert not found("SKU,Title,PATH").notes


@pytest.mark.parametrize(
    ("header", "ours", "theirs"),
    [
        ("path,seller", "sender", "seller"),
        ("path,Vendor", "sender", "Vendor"),
        ("path,brand", "sender", "brand"),
        ("path,Supplier Name", "sender", "Supplier Name"),
        ("path,product_id", "sku", "product_id"),
        ("path,ItemID", "sku", "ItemID"),
        ("image,sku", "path", "image"),
        ("File-Name,sku", "path", "File-Name"),
        ("path,Product Type", "category", "Product Type"),
    ],
)
def test_what_shops_commonly_say_is_recognised_and_said(header: str, ours: str, theirs: str) -> None:
    assert named(header)[ours] == theirs
    assert f"{theirs!r} is read as {ours}" in " ".join(found(header).notes)


def test_the_surest_of_several_is_taken_and_the_others_are_named() -> None:
    columns = found("path,brand,seller,product_id")
    assert columns.places["sender"] == 2 and columns.unused == ("brand",)
    assert "'seller' is read as sender, not 'brand'" in columns.notes


def test_our_own_name_and_the_mapped_one_come_before_what_shops_say() -> None:
    assert named("path,seller,sender")["sender"] == "sender"
    assert named("path,seller,Haus", {"sender": "Haus"})["sender"] == "Haus"
    # A batch whose catalogue speaks our names is read although another shop's are mapped.
    assert named("path,sender", {"sender": "Haus"})["sender"] == "sender"


def test_a_mapped_column_that_is_missing_is_a_problem() -> None:
    assert found("path,seller", {"category": "Marke"}).problems == (
        "column 'Marke', mapped to 'category' in params.yaml, is missing",
    )


def test_of_two_columns_of_one_name_the_first_is_read_and_it_is_said() -> None:
    columns = found("SKU,path,sku,sku")
    assert columns.places["sku"] == 2 and "are both sku; 'sku' in column 3 is read" in columns.notes[0]


def test_a_column_that_may_mean_ours_is_named_and_not_taken() -> None:
    columns = found("path,id")
    assert "sku" not in columns.places
    assert columns.notes == ("column 'sku' is missing; it may be 'id', which is not read",)


def test_a_misspelt_label_is_a_problem_and_a_misspelt_fact_a_note() -> None:
    assert find_columns(["path", "qualty_mos"], {}, ("path", *LABELS)).problems
    columns = found("path,descripton")
    assert not columns.problems and "did you mean 'descripton'?" in columns.notes[0]


def test_without_a_path_the_likely_columns_are_named() -> None:
    assert "did you mean 'paths'?" in found("paths,sku").problems[0]
    assert "it may be 'image_link', which is not read" in found("image_link,sku").problems[0]
    assert "it may be any of 'image', 'picture'" in found("image,picture,sku").problems[0]
