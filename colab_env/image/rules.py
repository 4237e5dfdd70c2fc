"""What is wrong with Dockerfiles of Poetry and uv projects, beyond what linters say: each rule one sentence and one source."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

from colab_env.image import install_rules, variable_rules
from colab_env.image.findings import Finding
from colab_env.image.reading import Dockerfile
from colab_env.image.surroundings import Place, Project

Fix = Callable[[str], str]
_TABLE = Path(__file__).with_name("dockerfile_rules.tsv")  # name, sentence, source
FINDERS: dict[str, Callable[[Dockerfile, Project], Iterator[Place]]] = {
    "no-such-variable": variable_rules.no_such_variable,
    "pip-cache-off": variable_rules.pip_cache_off,
    "pip-variable-unread": variable_rules.pip_variable_unread,
    "variable-elsewhere": variable_rules.variable_elsewhere,
    "poetry-version-unread": variable_rules.poetry_version_unread,
    "uv-system-python": variable_rules.system_python,
    "cache-mount-unused": install_rules.cache_mount_unused,
    "export-without-plugin": install_rules.export_without_plugin,
    "option-gone": install_rules.option_gone,
    "option-to-come": install_rules.option_to_come,
    "environment-moved": install_rules.environment_moved,
    "editable-left-behind": install_rules.editable_left_behind,
    "other-python": install_rules.other_python,
    "into-system-python": install_rules.into_system_python,
    "compilers-shipped": install_rules.compilers_shipped,
    "copied-before-install": install_rules.copied_before_install,
    "environment-in-context": install_rules.environment_in_context,
}


def table() -> dict[str, tuple[str, str]]:
    """Return the rules' sentences, with {names} in them, and sources, by name."""
    rows = (line.split("\t") for line in _TABLE.read_text(encoding="utf-8").splitlines())
    return {name: (text, source) for name, text, source in rows}


def check(file: Dockerfile, project: Project) -> list[tuple[Finding, Fix | None]]:
    """Return what is wrong, by line, each with how its instruction would be better, or None."""
    found: dict[Finding, Fix | None] = {}
    for name, (text, source) in table().items():
        for line, names, fix in FINDERS[name](file, project):
            finding = Finding(
                rule=name, line=line, text=text.format(**names), source=source, is_fixable=fix is not None
            )
            found.setdefault(finding, fix)
    return sorted(found.items(), key=lambda pair: (pair[0].line, pair[0].rule))


def fixed(file: Dockerfile, found: list[tuple[Finding, Fix | None]]) -> str:
    """Return the text with everything that is certainly equivalent or better done."""
    lines = file.text.splitlines(keepends=True)
    for instruction in reversed(file.instructions):
        fixes = [fix for each, fix in found if fix and instruction.start <= each.line <= instruction.end]
        if not fixes:
            continue
        before = "".join(lines[instruction.start - 1 : instruction.end])
        end = re.search(r"\r?\n?$", before)
        newline = "\r\n" if "\r\n" in before else "\n"
        text = before.replace("\r\n", "\n").rstrip("\n")
        for fix in fixes:
            text = fix(text)
        after = text.replace("\n", newline) + (end[0] if end and text else "")
        lines[instruction.start - 1 : instruction.end] = [after] if text else []
    return "".join(lines)
