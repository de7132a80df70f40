"""All that this package takes from web3 and its kin, imported with the interpreter's recursion limit kept.

One of them (py_ecc) raises it to 100,000 for the whole process: far past what the stack bears, so that deep nesting,
which decoders refuse by that limit, would crash the process instead.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def recursion_limit_kept() -> Iterator[None]:
    limit = sys.getrecursionlimit()
    try:
        yield
    finally:
        sys.setrecursionlimit(limit)


with recursion_limit_kept():
    from eth_account import Account
    from eth_utils.address import (
        is_address,
        is_checksum_address,
        is_checksum_formatted_address,
        to_checksum_address,
    )
    from web3 import Web3
    from web3.exceptions import ContractLogicError, TransactionNotFound, Web3Exception, Web3RPCError
    from web3.logs import DISCARD
    from web3.providers.base import JSONBaseProvider
    from web3.types import RPCEndpoint, RPCResponse

__all__ = [
    "DISCARD",
    "Account",
    "ContractLogicError",
    "JSONBaseProvider",
    "RPCEndpoint",
    "RPCResponse",
    "TransactionNotFound",
    "Web3",
    "Web3Exception",
    "Web3RPCError",
    "is_address",
    "is_checksum_address",
    "is_checksum_formatted_address",
    "to_checksum_address",
]
