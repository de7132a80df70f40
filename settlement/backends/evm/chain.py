"""One chain, one token and one paying account, through web3.py. What goes wrong is a ChainError; operators read it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from poolhub.common import outbound
from settlement.backends.base import BackendError
from settlement.backends.evm.libraries import (
    DISCARD,
    Account,
    ContractLogicError,
    RPCEndpoint,
    TransactionNotFound,
    Web3,
    Web3Exception,
    Web3RPCError,
    is_address,
    is_checksum_address,
    is_checksum_formatted_address,
    to_checksum_address,
)
from settlement.backends.evm.rpc import NodeProvider

GWEI = 10**9
GAS_MARGIN = 1.25  # over the estimate: storage may be cold when it is mined
ZERO = "0x" + "0" * 40
# what nodes answer to a transaction that they have, or to a nonce that is used up: following it finds out which
KNOWN = ("already known", "known transaction", "already imported", "nonce too low", "invalid nonce", "underpriced")

ERC20: Any = [
    {
        "type": "function", "name": "transfer", "stateMutability": "nonpayable",
        "inputs": [{"name": "to", "type": "address"}, {"name": "value", "type": "uint256"}],
        "outputs": [{"name": "", "type": "bool"}],
    },
    {
        "type": "event", "name": "Transfer", "anonymous": False,
        "inputs": [
            {"name": "from", "type": "address", "indexed": True}, {"name": "to", "type": "address", "indexed": True},
            {"name": "value", "type": "uint256", "indexed": False},
        ],
    },
]  # fmt: skip


class ChainError(BackendError):
    """The node is away, or refuses; later it may not."""


class Reverts(ChainError):
    """The token's contract would not make this transfer now."""


@dataclass(frozen=True, slots=True)
class Fees:
    """Wei a unit of gas, as of EIP-1559: at most, and for who mines it."""

    most: int
    tip: int


@dataclass(frozen=True, slots=True)
class Signed:
    hash: str
    raw: str


@dataclass(frozen=True, slots=True)
class Mined:
    block: int
    reverted: bool
    paid: bool  # the token tells of exactly this transfer


def address_of(text: str) -> str | None:
    """With its checksum; None for what is no address, has a wrong checksum, or is the zero address."""
    if not is_address(text) or not text.startswith("0x") or text.lower() == ZERO:
        return None
    if is_checksum_formatted_address(text) and not is_checksum_address(text):
        return None
    return str(to_checksum_address(text))


class Chain:
    def __init__(self, url: str, *, chain_id: int, token: str, key: str, limit_s: float) -> None:
        self.chain_id = chain_id
        self.token = str(to_checksum_address(token))
        self._provider = NodeProvider(url, limit_s=limit_s)
        self._web3 = Web3(self._provider)
        self._account = Account.from_key(key)
        self.account = str(self._account.address)
        self._contract = self._web3.eth.contract(address=to_checksum_address(token), abi=ERC20)
        self._right = False

    def check(self) -> None:
        """Raises ChainError where the node is one of another chain."""
        if not self._right:
            with _told():
                found = self._web3.eth.chain_id
            if found != self.chain_id:
                raise ChainError(f"the node is on chain {found}, and EVM_CHAIN_ID is {self.chain_id}")
            self._right = True

    def head(self) -> int:
        with _told():
            return int(self._web3.eth.block_number)

    def nonces_used(self, block: int | None = None) -> int:
        """Of the account, up to a block, or up to the newest."""
        with _told():
            return int(
                self._web3.eth.get_transaction_count(self._account.address, block if block is not None else "latest")
            )

    def fees(self) -> Fees:
        """What gets a transaction into one of the next blocks: twice the base fee may be passed on the way there."""
        with _told():
            base = self._web3.eth.get_block("latest").get("baseFeePerGas")
            if base is None:
                raise ChainError("the chain has no base fee (EIP-1559)")
            tip = int(self._web3.eth.max_priority_fee)
        return Fees(most=2 * int(base) + tip, tip=tip)

    def gas_for(self, to: str, units: int) -> int:
        """Raises Reverts where the token's contract refuses, or says that it did not pay."""
        call: Any = {"from": self._account.address, "to": self._contract.address, "data": self._data(to, units)}
        with _told():
            said = bytes(self._web3.eth.call(call))
            if said and not int.from_bytes(said):
                raise Reverts("the token's contract answers false")
            if not said and not self._web3.eth.get_code(self._contract.address):
                raise Reverts("there is no contract at EVM_TOKEN_ADDRESS")
            return int(self._web3.eth.estimate_gas(call) * GAS_MARGIN)

    def signed(self, *, nonce: int, to: str, units: int, gas: int, fees: Fees) -> Signed:
        done = self._account.sign_transaction(
            {
                "type": 2, "chainId": self.chain_id, "nonce": nonce, "to": self._contract.address, "value": 0,
                "data": self._data(to, units), "gas": gas, "maxFeePerGas": fees.most, "maxPriorityFeePerGas": fees.tip,
            }
        )  # fmt: skip
        return Signed(done.hash.to_0x_hex(), done.raw_transaction.to_0x_hex())

    def send(self, raw: str) -> None:
        """Safe to call again with the same transaction."""
        try:
            with _told():
                self._web3.eth.send_raw_transaction(raw)  # type: ignore[arg-type]  # hex is taken as well
        except ChainError as error:
            if not any(each in str(error).lower() for each in KNOWN):
                raise

    def mined(self, hash_: str, *, to: str, units: int) -> Mined | None:
        """None where it is in no block of the chain as the node sees it now."""
        try:
            with _told():
                receipt = self._web3.eth.get_transaction_receipt(hash_)  # type: ignore[arg-type]  # likewise
        except TransactionNotFound:
            return None
        wanted = {"from": self._account.address, "to": to, "value": units}
        told = [
            dict(each["args"])
            for each in self._contract.events.Transfer().process_receipt(receipt, errors=DISCARD)
            if each["address"] == self._contract.address
        ]
        return Mined(int(receipt["blockNumber"]), receipt["status"] != 1, wanted in told)

    def knows(self, hash_: str) -> bool:
        """Whether the node holds it, mined or waiting."""
        with _told():
            return (
                self._provider.make_request(RPCEndpoint("eth_getTransactionByHash"), [hash_]).get("result") is not None
            )

    def close(self) -> None:
        self._provider.close()

    def _data(self, to: str, units: int) -> Any:
        return self._contract.encode_abi("transfer", args=[to, units])


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except TransactionNotFound:
        raise
    except ContractLogicError as error:
        raise Reverts(f"the token's contract reverts: {error.message}") from None
    except Web3RPCError as error:
        raise ChainError(f"the node refuses: {_message(error)}") from None
    except outbound.OutboundError as error:
        raise ChainError(str(error)) from None
    except (Web3Exception, ValueError, TypeError, KeyError) as error:  # an answer that web3 cannot read
        raise ChainError(f"the node's answer cannot be read: {type(error).__name__}") from None


def _message(error: Web3RPCError) -> str:
    told: Any = (error.rpc_response or {}).get("error")
    return str(told.get("message") if isinstance(told, dict) else error.message)
