"""Workers that raise, die or are no longer wanted."""

from __future__ import annotations

import multiprocessing
import os
from pathlib import Path

import pytest

from tokenizers_scratch.dataset.manifest import DatasetError, hash_of_file
from tokenizers_scratch.dataset.processes import WorkerError, in_processes


@pytest.mark.parametrize("workers", [1, 2])
def test_every_item_is_worked_on(workers):
    assert sorted(in_processes(abs, [-1, -2, -3, -4, -5], workers)) == [1, 2, 3, 4, 5]


def test_no_items():
    assert list(in_processes(abs, [], 2)) == []


def test_a_worker_that_dies_is_noticed():
    with pytest.raises(WorkerError, match="ended with code 7"):
        list(in_processes(os._exit, [7, 7], 2))


def test_errors_come_through():
    with pytest.raises(FileNotFoundError):
        list(in_processes(os.listdir, ["/nowhere/at/all", "/nowhere/at/all"], 2))
    with pytest.raises(WorkerError, match="in a worker process: TypeError: ") as caught:
        list(in_processes(abs, ["x", "y"], 2))
    assert "Traceback" in caught.value.__notes__[0]
    with pytest.raises(TypeError):
        list(in_processes(abs, ["x"], 1))
    with pytest.raises(DatasetError, match=r"/nowhere: No such file") as damaged:
        list(in_processes(hash_of_file, [Path("/nowhere")] * 2, 2))
    assert damaged.value.reason == "No such file or directory"


def test_stopping_early_stops_the_workers():
    before = set(multiprocessing.active_children())
    results = in_processes(abs, range(100), 2)
    next(results)
    started = set(multiprocessing.active_children()) - before
    assert len(started) == 2
    results.close()
    assert not any(process.is_alive() for process in started)
