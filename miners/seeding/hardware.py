"""What miners compute on: real models with their memory, how common they are and what they cost; pure tables.

Memory is in GB of one GPU as sold; on Apple's, the three quarters of the unified memory that its GPU may use. A price
is the median in tokens per 1,000 s; weights are shares of the pool, in no unit.
"""

from dataclasses import dataclass
from enum import StrEnum

Shares = tuple[tuple[int, float], ...]


class Tier(StrEnum):
    """Classes of hardware; the median price rises from each to the next."""

    CPU = "cpu"
    CONSUMER = "consumer"
    WORKSTATION = "workstation"
    DATACENTER = "datacenter"


@dataclass(frozen=True, slots=True)
class Platform:
    """accel as a registration names it; `key` of the tag that tells its version, such as cuda=12.4."""

    accel: tuple[str, ...]
    key: str
    versions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Model:
    name: str
    tier: Tier
    platform: Platform
    vram_gb: float  # 0 without a GPU
    weight: float
    price: float
    counts: Shares = ((1, 1.0),)  # (GPUs in a machine, share)
    cores: tuple[int, ...] = (4, 8)  # for each GPU; without one, or with memory of its own, for the machine
    ram_gb: tuple[int, ...] = ()  # of the machine, where it does not follow from the GPUs


CUDA = Platform(("cuda",), "cuda", ("11.8", "12.1", "12.2", "12.4", "12.4", "12.4", "12.6", "12.8"))
CUDA_BLACKWELL = Platform(("cuda",), "cuda", ("12.8", "12.8", "12.9"))
ROCM = Platform(("rocm", "vulkan"), "rocm", ("6.1", "6.2", "6.2", "6.3"))
METAL = Platform(("metal",), "metal", ("3",))
ONEAPI = Platform(("oneapi", "vulkan"), "oneapi", ("2024.2", "2025.0"))
CPU = Platform(("cpu",), "cpu", ("avx2", "avx2", "avx512"))

HOME = ((1, 0.80), (2, 0.14), (3, 0.02), (4, 0.04))
RIG = ((1, 0.60), (2, 0.18), (4, 0.13), (6, 0.04), (8, 0.05))
SERVER = ((1, 0.40), (2, 0.22), (4, 0.23), (8, 0.15))
BOARD = ((1, 0.25), (2, 0.12), (4, 0.18), (8, 0.45))

MODELS = (
    Model("NVIDIA GeForce RTX 3060", Tier.CONSUMER, CUDA, 12, 9.0, 0.13, RIG),
    Model("NVIDIA GeForce RTX 3060 Ti", Tier.CONSUMER, CUDA, 8, 3.5, 0.13, HOME),
    Model("NVIDIA GeForce RTX 3070", Tier.CONSUMER, CUDA, 8, 5.0, 0.15, RIG),
    Model("NVIDIA GeForce RTX 3080", Tier.CONSUMER, CUDA, 10, 6.0, 0.22, RIG),
    Model("NVIDIA GeForce RTX 3080 Ti", Tier.CONSUMER, CUDA, 12, 2.0, 0.25, HOME),
    Model("NVIDIA GeForce RTX 3090", Tier.CONSUMER, CUDA, 24, 9.0, 0.36, RIG),
    Model("NVIDIA GeForce RTX 4060", Tier.CONSUMER, CUDA, 8, 3.5, 0.17, HOME),
    Model("NVIDIA GeForce RTX 4060 Ti", Tier.CONSUMER, CUDA, 16, 4.0, 0.22, HOME),
    Model("NVIDIA GeForce RTX 4070", Tier.CONSUMER, CUDA, 12, 4.0, 0.27, HOME),
    Model("NVIDIA GeForce RTX 4070 Ti SUPER", Tier.CONSUMER, CUDA, 16, 2.5, 0.36, HOME),
    Model("NVIDIA GeForce RTX 4080", Tier.CONSUMER, CUDA, 16, 3.0, 0.47, HOME),
    Model("NVIDIA GeForce RTX 4090", Tier.CONSUMER, CUDA, 24, 12.0, 0.75, RIG, (6, 8, 12)),
    Model("NVIDIA GeForce RTX 5070 Ti", Tier.CONSUMER, CUDA_BLACKWELL, 16, 1.5, 0.45, HOME),
    Model("NVIDIA GeForce RTX 5080", Tier.CONSUMER, CUDA_BLACKWELL, 16, 1.5, 0.62, HOME),
    Model("NVIDIA GeForce RTX 5090", Tier.CONSUMER, CUDA_BLACKWELL, 32, 3.0, 1.10, RIG, (8, 12)),
    Model("AMD Radeon RX 7900 XTX", Tier.CONSUMER, ROCM, 24, 1.8, 0.36, HOME),
    Model("AMD Radeon RX 7800 XT", Tier.CONSUMER, ROCM, 16, 0.8, 0.22, HOME),
    Model("Intel Arc A770", Tier.CONSUMER, ONEAPI, 16, 0.6, 0.14, HOME),
    Model("Apple M2 Pro", Tier.CONSUMER, METAL, 24, 0.5, 0.14, cores=(12,), ram_gb=(32,)),
    Model("Apple M3 Max", Tier.CONSUMER, METAL, 48, 0.6, 0.25, cores=(16,), ram_gb=(64,)),
    Model("Apple M4 Max", Tier.CONSUMER, METAL, 96, 0.4, 0.36, cores=(16,), ram_gb=(128,)),
    Model("Apple M2 Ultra", Tier.CONSUMER, METAL, 144, 0.5, 0.45, cores=(24,), ram_gb=(192,)),
    Model("NVIDIA RTX A4000", Tier.WORKSTATION, CUDA, 16, 2.5, 0.32, RIG),
    Model("NVIDIA RTX A5000", Tier.WORKSTATION, CUDA, 24, 2.5, 0.50, RIG),
    Model("NVIDIA RTX A6000", Tier.WORKSTATION, CUDA, 48, 3.0, 0.95, SERVER, (8, 12)),
    Model("NVIDIA RTX 4000 Ada Generation", Tier.WORKSTATION, CUDA, 20, 0.8, 0.42, SERVER),
    Model("NVIDIA RTX 6000 Ada Generation", Tier.WORKSTATION, CUDA, 48, 1.6, 1.40, SERVER, (8, 12, 16)),
    Model("NVIDIA L4", Tier.DATACENTER, CUDA, 24, 1.8, 0.80, SERVER, (8, 12)),
    Model("NVIDIA A10", Tier.DATACENTER, CUDA, 24, 1.2, 0.85, SERVER, (8, 12)),
    Model("NVIDIA L40S", Tier.DATACENTER, CUDA, 48, 2.0, 1.70, SERVER, (12, 16)),
    Model("NVIDIA A100-PCIE-40GB", Tier.DATACENTER, CUDA, 40, 1.6, 1.60, SERVER, (12, 16)),
    Model("NVIDIA A100-SXM4-80GB", Tier.DATACENTER, CUDA, 80, 2.4, 2.40, BOARD, (12, 16, 24)),
    Model("NVIDIA H100 PCIe", Tier.DATACENTER, CUDA, 80, 1.0, 3.60, SERVER, (16, 24)),
    Model("NVIDIA H100 80GB HBM3", Tier.DATACENTER, CUDA, 80, 1.8, 4.30, BOARD, (16, 24)),
    Model("NVIDIA H200", Tier.DATACENTER, CUDA, 141, 0.6, 5.80, BOARD, (16, 24)),
    Model("AMD Instinct MI250X", Tier.DATACENTER, ROCM, 128, 0.3, 2.60, BOARD, (16,)),
    Model("AMD Instinct MI300X", Tier.DATACENTER, ROCM, 192, 0.4, 4.60, BOARD, (16, 24)),
    Model("AMD EPYC 7763", Tier.CPU, CPU, 0, 1.2, 0.06, ((0, 1.0),), (32, 64, 128), (128, 256, 512)),
    Model("Intel Xeon Gold 6338", Tier.CPU, CPU, 0, 0.8, 0.05, ((0, 1.0),), (32, 64), (128, 256)),
    Model("AMD Ryzen 9 7950X", Tier.CPU, CPU, 0, 1.0, 0.04, ((0, 1.0),), (16,), (32, 64, 128)),
)

CORES = (4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256)  # what machines are built with
RAM_GB = (16, 32, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048)


def built_with(sizes: tuple[int, ...], least: float) -> int:
    """The smallest size that machines are built with and that is at least so much; the largest where none is."""
    return next((size for size in sizes if size >= least), sizes[-1])
