"""Devices by name, as `--device` takes them. Whether they are there is checked where they are used."""

import re

from amix.engine.base.errors import UsageError

_CUDA = re.compile(r"cuda(?::(?P<index>\d{1,3}))?", re.ASCII)


def parse_devices(text: str) -> tuple[str, ...]:
    """Return the devices in `text`, separated by commas, in the order given: `("cpu",)` or `("cuda:0", "cuda:1")`.

    `cuda` alone means `cuda:0`.
    Raises UsageError for names that are unknown or listed twice, and for the CPU together with GPUs.
    """
    devices: list[str] = []
    for name in map(str.strip, text.split(",")):
        device = _canonical(name)
        if device is None:
            within = f" in '{text}'" if name != text else ""
            raise UsageError(
                f"device '{name}'{within} is unknown. Use cpu, cuda or cuda:N; several as cuda:0,cuda:1."
            )
        if device in devices:
            raise UsageError(
                f"device '{text}' names {device} twice. Name each once; --workers sets how many share it."
            )
        devices.append(device)
    if "cpu" in devices and len(devices) > 1:
        raise UsageError(
            f"device '{text}' mixes cpu with GPUs, whose results differ in the last bits. Use either cpu or GPUs."
        )
    return tuple(devices)


def parse_device(text: str) -> str:
    """Return the one device in `text`: `cpu` or `cuda:N`. `cuda` alone means `cuda:0`.

    Raises UsageError for anything else, several devices included.
    """
    device = _canonical(text.strip())
    if device is None:
        raise UsageError(f"device is '{text}'; it must be cpu, cuda or cuda:N.")
    return device


def cuda_index(device: str) -> int | None:
    """Return N of `cuda:N`, in the spelling of `parse_device`, and None for `cpu`."""
    return None if device == "cpu" else int(device.removeprefix("cuda:"))


def _canonical(name: str) -> str | None:
    """Return a device's one spelling, None for what is not a device."""
    if name == "cpu":
        return name
    match = _CUDA.fullmatch(name)
    return None if match is None else f"cuda:{int(match['index'] or 0)}"
