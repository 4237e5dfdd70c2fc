"""A plugin for pytest: which test runs which lines of the rooms, and how long it takes."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from coverage import Coverage

RESULT = "MUTATION_TRACE"
# Fixtures that install Poetry and the kernel's packages, conda, or an image.
_HEAVY = {"built_machine", "standin", "storage"}


class Tracer:
    """Writes `{"lines": {file: {line: [test]}}, "seconds": {test: seconds}, "failed": [test]}` to a file."""

    def __init__(self, result: Path, files: list[str]) -> None:
        self.result = result
        self.coverage = Coverage(data_file=None, config_file=False, include=files)
        self.seconds: Counter[str] = Counter()
        self.failed: set[str] = set()
        self.coverage.start()

    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        """Leave out what takes long before it begins."""
        heavy = [item for item in items if _HEAVY & {*getattr(item, "fixturenames", ())}]
        items[:] = [item for item in items if not _HEAVY & {*getattr(item, "fixturenames", ())}]
        config.hook.pytest_deselected(items=heavy)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        self.coverage.switch_context(item.nodeid)
        return (yield)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.seconds[report.nodeid] += report.duration
        if not report.passed:
            self.failed.add(report.nodeid)

    def pytest_sessionfinish(self) -> None:
        self.coverage.stop()
        data = self.coverage.get_data()
        lines = {file: data.contexts_by_lineno(file) for file in data.measured_files()}
        self.result.write_text(
            json.dumps({"lines": lines, "seconds": self.seconds, "failed": sorted(self.failed)}), encoding="utf-8"
        )


def pytest_configure(config: pytest.Config) -> None:
    if RESULT in os.environ:
        result, *files = os.environ[RESULT].split(os.pathsep)
        config.pluginmanager.register(Tracer(Path(result), files))
