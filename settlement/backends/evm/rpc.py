"""JSON-RPC to a node, over the hub's own client: private addresses, redirects and time limits as for all its calls."""

from typing import Any

from poolhub.common import outbound
from settlement.backends.evm.libraries import JSONBaseProvider, RPCEndpoint, RPCResponse

MAX_ANSWER_BYTES = 4 * 1024 * 1024


class NodeProvider(JSONBaseProvider):
    """Raises OutboundError where there is no answer, or one that is no JSON-RPC. Its text does not name the URL."""

    def __init__(self, url: str, *, limit_s: float) -> None:
        super().__init__()
        self._url = url
        self._limit_s = limit_s
        self._client = outbound.Client()

    def make_request(self, method: RPCEndpoint, params: Any) -> RPCResponse:
        try:
            answer = self._client.request(
                "POST",
                self._url,
                limit_s=self._limit_s,
                max_bytes=MAX_ANSWER_BYTES,
                headers={"Content-Type": "application/json"},
                content=self.encode_rpc_request(method, params),
            )
        except outbound.OutboundError as error:
            raise outbound.OutboundError(str(error).replace(self._url, "the node")) from None
        try:
            told = self.decode_rpc_response(answer.content)
        except (ValueError, RecursionError):
            told = {}
        if not answer.complete or not isinstance(told, dict) or not ("result" in told or "error" in told):
            raise outbound.OutboundError(f"the node answered {answer.status}, and no JSON-RPC")
        return told

    def is_connected(self, show_traceback: bool = False) -> bool:
        return True  # whoever asks finds out

    def close(self) -> None:
        self._client.close()
