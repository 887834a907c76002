import torch

from primaldual.environment.machine import devices, system, torch_facts


def test_the_cpu_comes_first_and_other_devices_are_those_of_torch():
    found = devices()
    assert found[0] == "cpu"
    assert ("cuda" in found) == torch.cuda.is_available()


def test_threads_and_limits_are_told(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert system()["OMP_NUM_THREADS"] == "3"
    monkeypatch.delenv("OMP_NUM_THREADS")
    assert "OMP_NUM_THREADS" not in system()
    assert int(system()["cores"]) >= 1
    assert torch_facts()["threads"].startswith(f"{torch.get_num_threads()} within")


def test_gpus_are_named(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda place: (9, 0))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda place: f"Card {place}")
    found = torch_facts()
    assert found["devices"].startswith("cpu, cuda")
    assert found["cuda:1"] == "Card 1, compute capability 9.0"
