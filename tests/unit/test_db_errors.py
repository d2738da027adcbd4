"""Values in the messages of database errors: none leaves, names stay (R14.08)."""

import sqlite3

import pytest
from nuages import _db_errors, _native_side, settings

MESSAGES = [
    (
        'duplicate key value violates unique constraint "users_email_key"\nDETAIL:  Key (email)=(ann (the first)) already exists.\n',
        'duplicate key value violates unique constraint "users_email_key"\nDETAIL:  Key (email)=(?) already exists.\n',
    ),
    (
        'insert or update on table "orders" violates foreign key constraint "fk"\nDETAIL:  Key (user_id, shop)=(5, x) is not present in table "users".',
        'insert or update on table "orders" violates foreign key constraint "fk"\nDETAIL:  Key (user_id, shop)=(?) is not present in table "users".',
    ),
    (
        'null value in column "name" of relation "users" violates not-null constraint\nDETAIL:  Failing row contains (7, ann, null).',
        'null value in column "name" of relation "users" violates not-null constraint\nDETAIL:  Failing row contains (?).',
    ),
    (
        "column \"x\" does not exist\nLINE 1: SELECT x FROM t WHERE s = 'hidden'\n               ^\n",
        'column "x" does not exist\nLINE 1: ?\n',
    ),
    ('invalid input syntax for type integer: "hidden"', 'invalid input syntax for type integer: "?"'),
    ('value "99999999999" is out of range for type integer', 'value "?" is out of range for type integer'),
    ("Duplicate entry 'o'hara' for key 'users.email'", "Duplicate entry '?' for key 'users.email'"),
    ("Unknown column 'nme' in 'field list'", "Unknown column 'nme' in 'field list'"),
    ("Table 'shop.ordrs' doesn't exist", "Table 'shop.ordrs' doesn't exist"),
    (
        "Incorrect integer value: 'hidden' for column 'n' at row 1",
        "Incorrect integer value: '?' for column 'n' at row 1",
    ),
    (
        "You have an error in your SQL syntax; check the manual for the right syntax to use near 'hidden' at line 1",
        "You have an error in your SQL syntax; check the manual for the right syntax to use near '?' at line 1",
    ),
    (
        "unknown command 'NOSUCH', with args beginning with: 'hidden' 'x'",
        "unknown command 'NOSUCH', with args beginning with: '?' '?'",
    ),
    ("UNIQUE constraint failed: users.email", "UNIQUE constraint failed: users.email"),
    ('unrecognized token: "\'hidden"', 'unrecognized token: "?"'),
    (
        "canceling statement\nCONTEXT:  unnamed portal with parameters: $1 = hidden",
        "canceling statement\nCONTEXT:  unnamed portal with parameters: $1 = ?",
    ),
]


@pytest.mark.parametrize(("text", "cleaned"), MESSAGES)
def test_values_go_and_names_stay(text, cleaned):
    assert _db_errors.clean(text) == cleaned


def raise_chain():
    message = "Duplicate entry 'hidden' for key 'users.email'"
    try:
        raise sqlite3.IntegrityError(message)
    except sqlite3.IntegrityError as error:
        raise ValueError("the address is taken") from error


@pytest.fixture
def chained():
    with pytest.raises(ValueError, match="taken") as caught:
        raise_chain()
    yield caught.value
    settings.reset()


def test_the_stack_trace_of_a_chain_is_cleaned(chained):
    told = _native_side.exception_attributes(chained, escaped=True)
    assert told["exception.message"] == "the address is taken"
    assert "for key 'users.email'" in told["exception.stacktrace"]
    assert "sqlite3.IntegrityError: Duplicate entry '?' for key 'users.email'" in told["exception.stacktrace"]


def test_other_exceptions_keep_their_text():
    error = ValueError("Field 'id' expected a number but got 'hidden'.")
    assert _native_side.exception_attributes(error, escaped=False)["exception.message"] == str(error)


def test_masking_off_keeps_the_text(chained):
    settings.override(masking="off")
    error = chained.__cause__
    told = _native_side.exception_attributes(error, escaped=True)
    assert told["exception.message"] == str(error)
    assert str(error) in told["exception.stacktrace"]
