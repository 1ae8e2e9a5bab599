"""Rows of Z_A that lie side by side in one column of the product, like digits of one number.

The client adds powers of two to an honest encryption of zeros, so that two columns hold three rows exactly. No count of
columns covers that, a charge for what columns can hold does. The control is an account that counts columns.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from support.pair import DATASET
from support.toy import TOY, ToySuite

from securealign.errors import ErrorCode, RemoteProtocolError
from securealign.he.blobs import HEADER_BYTES
from securealign.he.interface import EncryptedRows
from securealign.protocol.policy import rank
from securealign.protocol.policy.rank import RankAccount, rank_charge

N, DIM_A, COLUMNS = 10_000, 6, 2
Z_A = np.random.default_rng(1).normal(size=(N, DIM_A))
ROWS_READ = 3
#: Unit of what the flood leaves to see, and two products: u_0 + 2^12 u_1, and u_2 + 2^6 u_1.
UNIT = 62
PACKED = {(0, 0): 0, (1, 0): 12, (2, 1): 0, (1, 1): 6}


def altered(rows: EncryptedRows) -> EncryptedRows:
    """Add the messages to encrypted zeros: a row is one word of 64 bits for each column, then one of 16."""
    if rows.first:
        return rows
    data = bytearray(rows.data)
    for (row, column), shift in PACKED.items():
        start = HEADER_BYTES + row * COLUMNS * 10
        low = slice(start + column * 8, start + column * 8 + 8)
        high = slice(start + COLUMNS * 8 + column * 2, start + COLUMNS * 8 + column * 2 + 2)
        residue = int.from_bytes(bytes(data[low]) + bytes(data[high]), "little")
        changed = ((residue + (1 << (UNIT + shift))) % (1 << TOY.log_q)).to_bytes(10, "little")
        data[low], data[high] = changed[:8], changed[8:]
    return replace(rows, data=bytes(data))


def signed(values, bits):
    half = 1 << (bits - 1)
    return (values + half) % (2 * half) - half


def read_rows() -> bool:
    """Run a session, and return whether three rows of Z_A come out of it to the last unit."""
    encryptor, evaluator = ToySuite().covariance_pair(Z_A, np.zeros((N, COLUMNS)))
    evaluator.accept_key(encryptor.key_material())
    for rows in encryptor.encrypt(1 << 16):
        evaluator.absorb(altered(rows))
    result = encryptor.decrypt(evaluator.finish())
    # An answer has 40 bits, and its scales are known to the client.
    answer = np.ldexp(result, evaluator._exponents[:, None] + encryptor._exponents - (TOY.log_q - 40)).astype(np.int64)
    units = (answer + (1 << (UNIT - 41))) >> (UNIT - 40)
    first = signed(units[:, 0], 12)
    low = (units[:, 0] - first) >> 12
    rest = units[:, 1] - 64 * (low % 64)
    third = signed(rest, 12)
    second = 64 * signed((rest - third) >> 12, 6) + low % 64
    expected = np.rint(Z_A[:ROWS_READ] * np.ldexp(1.0, evaluator._exponents)).astype(np.int64)
    return bool((np.stack([first, second, third]) == expected).all())


def test_two_columns_hold_three_rows_and_are_charged_for_more():
    assert read_rows()
    assert COLUMNS < ROWS_READ < rank_charge(COLUMNS, N)


def test_an_account_of_columns_would_show_more_rows_than_its_fraction(monkeypatch):
    # The fraction allows less than the three rows that the attack reads.
    session = (COLUMNS, N, ROWS_READ / N)
    account = RankAccount.of("peer", DATASET)
    with pytest.raises(RemoteProtocolError) as caught:
        account.charge(*session)
    assert caught.value.code is ErrorCode.RANK_BUDGET_EXHAUSTED
    monkeypatch.setattr(rank, "rank_charge", lambda columns, rows: columns)
    assert account.charge(*session) == 0
