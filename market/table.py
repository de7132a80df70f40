"""The market as one process holds it: found by a miner's GPU name and region. Pure."""

from collections.abc import Iterable, Mapping

from market.names import model_of, region_of, wider
from miners.registry.market import MarketEntry

ALL_REGIONS = "*"


class MarketTable:
    """Immutable; a change of the market is another table."""

    def __init__(self, version: int, entries: Iterable[MarketEntry], aliases: Mapping[str, str]) -> None:
        """aliases: from normal forms to normal forms, followed once."""
        self.version = version
        self.aliases = dict(aliases)
        self._entries = {(each.model, each.region): each for each in entries}

    def __len__(self) -> int:
        return len(self._entries)

    def resolve(self, gpu_name: str) -> str:
        """The model that a GPU's name means."""
        model = model_of(gpu_name)
        return self.aliases.get(model, model)

    def find(self, gpu_name: str, region: str) -> MarketEntry | None:
        """Of the region, else of the nearest one around it, else of all together; None for a model without a price."""
        model = self.resolve(gpu_name)
        if not model:
            return None
        for each in (*wider(region_of(region)), ALL_REGIONS):
            found = self._entries.get((model, each))
            if found is not None:
                return found
        return None


NO_MARKET = MarketTable(0, (), {})
