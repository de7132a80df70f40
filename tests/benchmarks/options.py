"""Options of a benchmark, as its command line has them."""

from argparse import ArgumentParser, Namespace
from types import ModuleType


def options(benchmark: ModuleType, *words: str) -> Namespace:
    parser = ArgumentParser()
    benchmark.arguments(parser)
    return parser.parse_args(words)
