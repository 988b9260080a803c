"""What a GPU is and what it has free, as far as PyTorch can tell: it is asked only where a GPU is used."""


def gpu_model(index: int) -> str | None:
    """Return name and compute capability of a GPU, which choose its kernels; None if unknown."""
    try:
        import torch

        found = torch.cuda.get_device_properties(index)
    except (ImportError, OSError, RuntimeError, AssertionError):  # torch without CUDA, or another one's CUDA
        return None
    return f"{found.name}, compute capability {found.major}.{found.minor}"


def free_bytes(index: int) -> int | None:
    """Return the bytes of a GPU that nobody uses, other processes included; None if unknown."""
    try:
        import torch

        free, _ = torch.cuda.mem_get_info(index)
    except (ImportError, OSError, RuntimeError, AssertionError):
        return None
    return int(free)
