"""Devices by name, as `--device` takes them. Whether they can be had shows when a session opens."""

import re

from amix.engine.base.errors import UsageError

_CUDA = re.compile(r"cuda(?::(?P<index>\d{1,3}))?", re.ASCII)


def parse_devices(text: str) -> tuple[str, ...]:
    """Return the devices in `text`, which commas separate, in its order: `("cpu",)` or `("cuda:0", "cuda:1")`.

    `cuda` alone means `cuda:0`.
    Raises UsageError for names that are unknown or stand twice, and for the processor beside GPUs.
    """
    devices = tuple(_canonical(part.strip(), text) for part in text.split(","))
    twice = next((device for place, device in enumerate(devices) if device in devices[:place]), None)
    if twice is not None:
        raise UsageError(
            f"device '{text}' names {twice} twice. Name each once; --workers sets how many share it."
        )
    if "cpu" in devices and len(devices) > 1:
        raise UsageError(
            f"device '{text}' mixes cpu with GPUs, which compute different last bits. Use either cpu or GPUs."
        )
    return devices


def _canonical(name: str, text: str) -> str:
    if name == "cpu":
        return name
    match = _CUDA.fullmatch(name)
    if match is None:
        within = f" in '{text}'" if name != text else ""
        raise UsageError(
            f"device '{name}'{within} is unknown. Use cpu, cuda or cuda:N; several as cuda:0,cuda:1."
        )
    return f"cuda:{int(match['index'] or 0)}"


def cuda_index(device: str) -> int | None:
    """Return N of `cuda:N`, as `parse_devices` writes it, and None for `cpu`."""
    return None if device == "cpu" else int(device.removeprefix("cuda:"))
