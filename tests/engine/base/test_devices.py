"""`--device` as text: one list of distinct devices of one kind, or a sentence that says what is wrong."""

import pytest

from amix.engine.base.devices import cuda_index, parse_device, parse_devices
from amix.engine.base.errors import UsageError


@pytest.mark.parametrize(
    ("text", "devices"),
    [
        ("cpu", ("cpu",)),
        ("cuda", ("cuda:0",)),
        ("cuda:3", ("cuda:3",)),
        ("cuda:1,cuda:0", ("cuda:1", "cuda:0")),
        (" cuda:0 , cuda:01 ", ("cuda:0", "cuda:1")),
    ],
)
def test_devices_come_in_one_spelling_and_in_the_order_given(text: str, devices: tuple[str, ...]) -> None:
    assert parse_devices(text) == devices
    assert parse_devices(",".join(devices)) == devices


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("tpu", r"device 'tpu' is unknown\. Use cpu, cuda or cuda:N"),
        ("cuda:0,tpu", r"device 'tpu' in 'cuda:0,tpu' is unknown"),
        ("", "device '' is unknown"),
        ("cuda:0,", "device '' in 'cuda:0,' is unknown"),
        ("cuda:-1", "device 'cuda:-1' is unknown"),
        ("cuda:٣", "is unknown"),
        ("cuda:1234", "is unknown"),
        ("cuda,cuda:0", "names cuda:0 twice.*--workers"),
        ("cpu,cpu", "names cpu twice"),
        ("cpu,cuda:1", "mixes cpu with GPUs.*Use either"),
    ],
)
def test_what_is_not_a_list_of_devices_is_a_usage_error(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse_devices(text)


@pytest.mark.parametrize(
    ("text", "device"), [("cpu", "cpu"), ("cuda", "cuda:0"), ("cuda:007", "cuda:7"), (" cuda:1 ", "cuda:1")]
)
def test_one_device_has_one_spelling(text: str, device: str) -> None:
    assert parse_device(text) == device
    assert parse_device(device) == device


@pytest.mark.parametrize("text", ["", "gpu", "cuda:-1", "cuda:1234", "cuda:٣", "cuda:0,cuda:1", "cpu,cpu"])
def test_what_is_not_one_device_is_a_usage_error(text: str) -> None:
    with pytest.raises(UsageError, match=f"device is '{text}'; it must be cpu, cuda or cuda:N"):
        parse_device(text)


def test_the_number_of_a_gpu() -> None:
    assert [cuda_index(device) for device in ("cpu", *parse_devices("cuda,cuda:12"))] == [None, 0, 12]
