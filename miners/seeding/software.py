"""What miners offer: published models, the memory that each needs to run and how often it is offered; pure tables."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Offer:
    """`share` of the machines that can run it which do; needs_gb of one GPU, of half the RAM where there is none."""

    name: str
    needs_gb: float
    share: float
    on_cpu: bool = False
    only: str = ""  # the one accelerator that its kernels are written for


OFFERS = (
    Offer("sentence-transformers/all-MiniLM-L6-v2", 1, 0.55, on_cpu=True),
    Offer("sentence-transformers/all-mpnet-base-v2", 2, 0.25, on_cpu=True),
    Offer("BAAI/bge-m3", 4, 0.35, on_cpu=True),
    Offer("BAAI/bge-large-en-v1.5", 3, 0.25, on_cpu=True),
    Offer("intfloat/multilingual-e5-large", 4, 0.20, on_cpu=True),
    Offer("nomic-ai/nomic-embed-text-v1.5", 2, 0.20, on_cpu=True),
    Offer("BAAI/bge-reranker-v2-m3", 4, 0.15, on_cpu=True),
    Offer("openai/clip-vit-large-patch14", 3, 0.30, on_cpu=True),
    Offer("google/siglip-so400m-patch14-384", 4, 0.15),
    Offer("facebook/dinov2-large", 3, 0.08),
    Offer("facebook/sam-vit-huge", 8, 0.10),
    Offer("openai/whisper-small", 2, 0.20, on_cpu=True),
    Offer("openai/whisper-large-v3", 8, 0.40),
    Offer("openai/whisper-large-v3-turbo", 6, 0.25),
    Offer("hexgrad/Kokoro-82M", 1, 0.10, on_cpu=True),
    Offer("suno/bark", 12, 0.06),
    Offer("facebook/musicgen-large", 16, 0.04),
    Offer("microsoft/Florence-2-large", 4, 0.12),
    Offer("Qwen/Qwen2-VL-7B-Instruct", 20, 0.18),
    Offer("meta-llama/Llama-3.2-3B-Instruct", 8, 0.30),
    Offer("microsoft/Phi-3.5-mini-instruct", 10, 0.18),
    Offer("mistralai/Mistral-7B-Instruct-v0.3", 16, 0.30),
    Offer("Qwen/Qwen2.5-7B-Instruct", 18, 0.35),
    Offer("meta-llama/Llama-3.1-8B-Instruct", 20, 0.50),
    Offer("deepseek-ai/DeepSeek-R1-Distill-Llama-8B", 20, 0.18),
    Offer("google/gemma-2-9b-it", 22, 0.22),
    Offer("Qwen/Qwen2.5-14B-Instruct", 32, 0.20),
    Offer("hugging-quants/Meta-Llama-3.1-70B-Instruct-AWQ-INT4", 44, 0.35, only="cuda"),
    Offer("Qwen/Qwen2.5-72B-Instruct-AWQ", 46, 0.25, only="cuda"),
    Offer("google/gemma-2-27b-it", 64, 0.15),
    Offer("Qwen/Qwen2.5-32B-Instruct", 72, 0.25),
    Offer("deepseek-ai/DeepSeek-R1-Distill-Qwen-32B", 72, 0.25),
    Offer("mistralai/Mixtral-8x7B-Instruct-v0.1", 100, 0.25),
    Offer("meta-llama/Llama-3.1-70B-Instruct", 160, 0.50),
    Offer("stable-diffusion-v1-5/stable-diffusion-v1-5", 4, 0.30),
    Offer("stabilityai/stable-diffusion-xl-base-1.0", 8, 0.45),
    Offer("stabilityai/stable-diffusion-3.5-large", 24, 0.20),
    Offer("black-forest-labs/FLUX.1-schnell", 24, 0.30),
    Offer("black-forest-labs/FLUX.1-dev", 24, 0.25),
    Offer("stabilityai/stable-video-diffusion-img2vid-xt", 20, 0.08),
    Offer("Wan-AI/Wan2.1-T2V-14B", 48, 0.08, only="cuda"),
    Offer("tencent/HunyuanVideo", 60, 0.06, only="cuda"),
)

LEAST = OFFERS[0].name  # what a miner offers where the dice give it nothing: it runs on every machine


def can_run(offer: Offer, *, accel: tuple[str, ...], vram_gb: float, ram_gb: float) -> bool:
    if offer.only and offer.only not in accel:
        return False
    if vram_gb == 0:
        return offer.on_cpu and offer.needs_gb <= ram_gb / 2
    return offer.needs_gb <= vram_gb
