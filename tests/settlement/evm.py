"""A real EVM (py-evm) behind real JSON-RPC over HTTP, with a pool of waiting transactions that blocks are made of."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from settlement.backends.evm.libraries import recursion_limit_kept
from tests.receivers import Got, Handler, Site, serving

with recursion_limit_kept():  # py-evm raises it, too
    from eth_account import Account
    from eth_account.typed_transactions import TypedTransaction
    from eth_tester import EthereumTester, PyEVMBackend
    from eth_utils import keccak, to_checksum_address
    from hexbytes import HexBytes
    from web3 import EthereumTesterProvider, Web3
    from web3.datastructures import NamedElementOnion

KEY = "0x" + "4c" * 32
PAYER = Account.from_key(KEY).address
SUPPLY = 10**30
CODES = {"STOP": 0x00, "ADD": 0x01, "SUB": 0x03, "LT": 0x10, "EQ": 0x14, "ISZERO": 0x15, "SHR": 0x1C, "CALLER": 0x33, "LOAD": 0x35,
         "CODECOPY": 0x39, "MSTORE": 0x52, "SLOAD": 0x54, "SSTORE": 0x55, "JUMP": 0x56, "JUMPI": 0x57, "DEST": 0x5B,
         "ZERO": 0x5F, "DUP1": 0x80, "DUP2": 0x81, "DUP3": 0x82, "SWAP1": 0x90, "LOG3": 0xA3, "RETURN": 0xF3,
         "REVERT": 0xFD}  # fmt: skip
TRANSFER = "0x" + keccak(text="Transfer(address,address,uint256)").hex()


def assembled(text: str) -> bytes:
    """0x… pushes that; a name that is no code is a label, two bytes when pushed as @name."""
    code, labels, holes = bytearray(), {}, []
    for word in text.split():
        if word.startswith("0x"):
            data = bytes.fromhex(word[2:])
            code += bytes([0x5F + len(data)]) + data
        elif word.startswith("@"):
            holes.append((len(code) + 1, word[1:]))
            code += b"\x61\x00\x00"
        elif word.endswith(":"):
            labels[word[:-1]] = len(code)
            code.append(CODES["DEST"])
        else:
            code.append(CODES[word])
    for at, name in holes:
        code[at : at + 2] = labels[name].to_bytes(2)
    return bytes(code)


def token_code(answer: str = "0x01 ZERO MSTORE 0x20 ZERO RETURN", *, tells: str = TRANSFER) -> bytes:
    """An ERC-20 whose balances are stored under the addresses themselves; its creator has the supply. freeze() has all
    transfers revert, or no longer. answer: how transfer ends."""
    runtime = assembled(
        f"""
        ZERO LOAD 0xe0 SHR
        DUP1 0xa9059cbb EQ @transfer JUMPI
        DUP1 0x70a08231 EQ @balance JUMPI
        DUP1 0x62a5af3b EQ @freeze JUMPI
        ZERO ZERO REVERT
        freeze:
        ZERO SLOAD ISZERO ZERO SSTORE STOP
        transfer:
        ZERO SLOAD @poor JUMPI
        0x24 LOAD
        CALLER SLOAD
        DUP2 DUP2 LT @poor JUMPI
        DUP2 SWAP1 SUB CALLER SSTORE
        0x04 LOAD SLOAD DUP2 ADD 0x04 LOAD SSTORE
        ZERO MSTORE
        0x04 LOAD CALLER {tells} 0x20 ZERO LOG3
        {answer}
        poor:
        ZERO ZERO REVERT
        balance:
        0x04 LOAD SLOAD ZERO MSTORE 0x20 ZERO RETURN
        """
    )
    size = len(runtime).to_bytes(2).hex()
    head = f"0x{SUPPLY.to_bytes(13).hex()} CALLER SSTORE 0x{size} @code ZERO CODECOPY 0x{size} ZERO RETURN"
    begin = assembled(f"{head} code:")[:-1]
    return begin + runtime


@dataclass
class Node:
    """What its mempool holds is mined when the test says so."""

    tester: EthereumTester
    site: Site | None = None
    pool: dict[int, tuple[dict[str, Any], str]] = field(default_factory=dict)  # by nonce: fields, raw
    calls: list[str] = field(default_factory=list)
    takes: bool = True  # False: what is sent is lost on the way
    before: Callable[[str], str | None] = lambda method: None  # an error instead of an answer
    after: Callable[[str], object] = lambda method: None  # the answer may wait for it
    garbage: bytes | None = None  # instead of any answer
    price: int = 0  # wei a unit of gas: cheaper ones are not mined
    token: str = ""

    def __post_init__(self) -> None:
        self.web3 = Web3(EthereumTesterProvider(self.tester))
        self.call = self.web3.provider.request_func(self.web3, NamedElementOnion([]))

    @property
    def url(self) -> str:
        assert self.site is not None
        return self.site.url("/v3/hidden-key")

    def answer(self, handler: Handler, got: Got) -> None:
        asked = json.loads(got.body)
        self.calls.append(asked["method"])
        refused = self.before(asked["method"])
        told: dict[str, Any] = {"jsonrpc": "2.0", "id": asked["id"]}
        try:
            told |= {"error": {"code": -32000, "message": refused}} if refused else {"result": self.result(**asked)}
        except Exception as error:  # noqa: BLE001 - a node tells whatever it is
            told["error"] = {"code": -32000, "message": str(error)}
        self.after(asked["method"])
        if self.garbage is not None:
            handler.say(200, self.garbage)
            return
        handler.say(200, json.dumps(told).encode(), Content_Type="application/json")

    def result(self, *, method: str, params: list[Any], **_: Any) -> Any:
        if method == "eth_sendRawTransaction":
            return self.take(params[0])
        if method == "eth_getTransactionByHash":
            waiting = next((fields for fields, _ in self.pool.values() if fields["hash"] == params[0]), None)
            if waiting is not None:
                return {"hash": waiting["hash"], "blockNumber": None}
        told = self.call(method, params)  # type: ignore[arg-type]
        if "error" in told:
            raise ValueError(str(told["error"]))
        return json.loads(json.dumps(told.get("result"), default=_text), parse_int=lambda each: hex(int(each)))

    def take(self, raw: str) -> str:
        fields = TypedTransaction.from_bytes(HexBytes(raw)).as_dict()
        hash_ = "0x" + keccak(HexBytes(raw)).hex()
        fields["hash"] = hash_
        if not self.takes:
            return hash_
        nonce, held = fields["nonce"], self.pool.get(fields["nonce"])
        if nonce < self.web3.eth.get_transaction_count(PAYER):
            raise ValueError("nonce too low")
        if held is not None:
            if held[0]["hash"] == hash_:
                raise ValueError("already known")
            if any(fields[each] * 10 < held[0][each] * 11 for each in ("maxFeePerGas", "maxPriorityFeePerGas")):
                raise ValueError("replacement transaction underpriced")
        self.pool[nonce] = (fields, raw)
        return hash_

    def mine(self, blocks: int = 1) -> None:
        """What the pool has for the next nonces goes into the first of the blocks, if it pays enough."""
        mined = 0
        while (held := self.pool.get(self.web3.eth.get_transaction_count(PAYER))) and held[0][
            "maxFeePerGas"
        ] >= self.price:
            del self.pool[held[0]["nonce"]]
            self.tester.send_raw_transaction(held[1])
            mined += 1
        if blocks > mined:
            self.tester.mine_blocks(blocks - mined)

    def balance(self, address: str) -> int:
        data = "0x70a08231" + address[2:].lower().rjust(64, "0")
        return int.from_bytes(self.web3.eth.call({"to": to_checksum_address(self.token), "data": data}))  # type: ignore[typeddict-item]

    def deploy(self, code: bytes) -> str:
        """By the paying account, whose nonce moves on."""
        fees = {"maxFeePerGas": 10**10, "maxPriorityFeePerGas": 10**9, "gas": 1_000_000, "value": 0, "type": 2}
        nonce = self.web3.eth.get_transaction_count(PAYER)
        signed = Account.sign_transaction({**fees, "nonce": nonce, "data": code, "chainId": self.chain_id}, KEY)
        receipt = self.web3.eth.get_transaction_receipt(
            HexBytes(self.tester.send_raw_transaction(signed.raw_transaction.to_0x_hex()))
        )
        assert receipt["status"] == 1
        self.token = str(receipt["contractAddress"])
        return self.token

    def freeze(self) -> None:
        """By somebody else; once more lifts it."""
        self.tester.send_transaction(
            {"from": self.tester.get_accounts()[0], "to": self.token, "data": "0x62a5af3b", "gas": 90_000}
        )

    def pay_elsewhere(self) -> None:
        """A transaction of the account that is none of the hub's."""
        fees = {"maxFeePerGas": 10**12, "maxPriorityFeePerGas": 10**9, "gas": 21_000, "value": 0, "type": 2}
        nonce = self.web3.eth.get_transaction_count(PAYER)
        signed = Account.sign_transaction({**fees, "nonce": nonce, "to": PAYER, "chainId": self.chain_id}, KEY)
        self.tester.send_raw_transaction(signed.raw_transaction.to_0x_hex())

    @property
    def chain_id(self) -> int:
        return self.web3.eth.chain_id


def _text(value: Any) -> str:
    return value.to_0x_hex() if isinstance(value, HexBytes) else str(value)


@contextmanager
def running_node() -> Iterator[Node]:
    tester = EthereumTester(PyEVMBackend())
    node = Node(tester)
    tester.send_transaction({"from": tester.get_accounts()[0], "to": PAYER, "value": 10**21, "gas": 21_000})
    node.deploy(token_code())
    with serving(node.answer) as site:
        node.site = site
        yield node
