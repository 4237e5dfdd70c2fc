"""What conda 26.5.3 prints where it fails (`texts.json`, from `python -m tests.conda_texts`) becomes typed errors."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from colab_env import errors
from colab_env.miniconda.faults import CONDA_FAULTS, LOST_HISTORY, cause_lines, channels_with_terms, recognise

TEXTS = json.loads((Path(__file__).parent / "conda_standin/texts.json").read_text())["texts"]
MISTUNE = "for url 'http://channels.invalid/conda-forge/noarch/mistune-"
# By scenario: the error, whether it may heal, what is quoted.
EXPECTED = {
    "not found": (errors.PackageNotFoundError, False, ["- no-such-package"]),
    "no such version": (errors.PackageNotFoundError, False, ["- numpy=0.1"]),
    "unsatisfiable": (errors.PackageNotFoundError, False, ["nowhere-to-be-found >=2, for which no candidates"]),
    "not found, classic": (errors.PackageNotFoundError, False, ["- no-such-package"]),
    "checksum": (errors.HashMismatchError, True, [MISTUNE, "expected sha256: ", "actual sha256: "]),
    "two checksums": (errors.HashMismatchError, True, [MISTUNE, "/linux-64/tornado-", "expected sha256: "]),
    "cut": (errors.NetworkError, True, ["IncompleteRead("]),
    "503": (
        errors.NetworkError,
        True,
        ["503 Service Unavailable for url <http://channels.invalid/conda-forge/linux-64/"],
    ),
    "no channel": (errors.CondaError, False, ["404 Not Found for channel nowhere <http://channels.invalid/nowhere>"]),
    "refused": (errors.NetworkError, False, ["for url <http://127.0.0.1:9/conda-forge/", "Connection refused"]),
    "no such host": (errors.NetworkError, False, ["Failed to resolve 'channels.invalid'"]),
    "proxy": (errors.NetworkError, False, ["host='127.0.0.1', port=9", "Connection refused"]),
    "full": (errors.DiskFullError, False, ["Failed to write to /opt/conda/pkgs/", "and 8 more such errors"]),
    "full prefix": (errors.DiskFullError, False, ["[Errno 28] No space left on device"]),
    "not writable": (errors.NotWritableError, False, ["PermissionError: [Errno 13] Permission denied: '/opt/home'"]),
    "terms": (errors.TermsOfServiceError, False, ["- http://channels.invalid/conda-forge"]),
    "broken YAML": (errors.ProjectFileError, False, ['in "<unicode string>", line 1, column 11']),
    "odd YAML": (errors.ProjectFileError, False, ["Invalid type for 'dependencies', expected a list"]),
    "empty YAML": (errors.ProjectFileError, False, ["Failed to parse environment specification from file"]),
    "bad specification": (errors.ProjectFileError, False, ["Invalid spec 'tornado=>>5'"]),
    "pip": (errors.BuildError, False, ["ERROR: No matching distribution found for nowhere-to-be-found"]),
}
ADVICE = ("search bar", "simple retry", "network engineering", "conda config --show", "docs", "dump_map", "Elapsed")


def lines_of(scenario: str) -> tuple[str, ...]:
    text = TEXTS[scenario]
    return tuple(f"{text['stdout']}\n{text['stderr']}".splitlines())


@pytest.mark.parametrize("scenario", [name for name in TEXTS if name not in ("lost history", "offline")])
def test_the_cause_is_recognised_and_quoted_without_advice(scenario):
    kind, is_transient, quoted = EXPECTED[scenario]
    fault = recognise(CONDA_FAULTS, lines_of(scenario))
    assert (fault.kind, fault.is_transient) == (kind, is_transient)
    shown = "\n".join(cause_lines(lines_of(scenario)))
    assert [words for words in quoted if words not in shown] == []
    assert [words for words in ADVICE if words in shown] == []
    assert len(shown.splitlines()) <= 3 * 12 + 1


def test_what_conda_did_not_foresee_is_quoted_in_one_line():
    assert recognise(CONDA_FAULTS, lines_of("offline")) is None
    (shown,) = cause_lines(lines_of("offline"))
    assert shown.startswith("FileNotFoundError('failed to open file")


def test_a_lost_history_is_known_by_its_words():
    assert LOST_HISTORY in "\n".join(lines_of("lost history"))


def test_variables_in_a_report_are_no_cause():
    report = {
        "error": "KeyError('x')",
        "exception_name": "KeyError",
        "conda_info": {"env_vars": {"CONDA_OFFLINE": "0"}},
    }
    assert recognise(CONDA_FAULTS, json.dumps(report, indent=2).splitlines()) is None


def test_a_report_whose_beginning_is_missing_is_recognised_too():
    lines = lines_of("two checksums")[30:]
    assert recognise(CONDA_FAULTS, lines).kind is errors.HashMismatchError
    assert "for url" in "\n".join(cause_lines(lines))


def test_the_channels_that_want_consent_are_found():
    assert channels_with_terms(lines_of("terms")) == ["http://channels.invalid/conda-forge"]


ODD = [
    *("", "{", "{}", "[]", "{" * 5000),
    *('{"errors": 5}', '{"errors": [5], "error": 7}', '"exception_name": "A" "message": "\\ud800"'),
]


@pytest.mark.parametrize("text", ODD)
def test_odd_output_is_quoted_and_breaks_nothing(text):
    recognise(CONDA_FAULTS, text.splitlines())
    assert all(isinstance(line, str) for line in cause_lines(text.splitlines()))
