"""What the tools themselves write: the documents that inputs start from."""

# ruff: noqa: E501, RUF001

from __future__ import annotations

from typing import Any

HASH = "sha256:" + "0a" * 32
MARKERS = {
    "os_name": "posix",
    "sys_platform": "linux",
    "platform_machine": "x86_64",
    "platform_system": "Linux",
    "platform_python_implementation": "CPython",
    "platform_release": "6.1",
    "platform_version": "#1",
    "implementation_name": "cpython",
    "python_version": "3.12",
    "python_full_version": "3.12.4",
    "implementation_version": "3.12.4",
}
PYTHON = {"path": "/usr/bin/python3", "version": "3.12.4", "source": "system"}

NOTEBOOKS: list[Any] = [
    {
        "cells": [
            {"cell_type": "markdown", "metadata": {}, "source": ["# A lesson"]},
            {
                "cell_type": "code",
                "execution_count": 1,
                "metadata": {},
                "outputs": [{"name": "stdout", "output_type": "stream", "text": ["1\n"]}],
                "source": [
                    "# /// script\n",
                    "# requires-python = '>=3.11'\n",
                    "# dependencies = ['six']\n",
                    "# ///\n",
                    "import six",
                ],
            },
        ],
        "metadata": {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        },
        "nbformat": 4,
        "nbformat_minor": 5,
    },
    {"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 2},
    {
        "cells": [{"cell_type": "code", "source": "1", "metadata": {}, "outputs": []}],
        "nbformat": 4,
        "nbformat_minor": 0,
    },
    {"worksheets": [{"cells": []}], "metadata": {}, "nbformat": 3, "nbformat_minor": 0},
]

SCRIPTS = [
    '#!/usr/bin/env python\n# /// script\n# requires-python = ">=3.11"\n# dependencies = [\n#   "six==1.16.0",\n# ]\n# ///\nimport six\n',
    '# /// script\n# dependencies = ["x @ https://user:pw@host/x.whl"]\n# [tool.uv]\n# exclude-newer = "2024-01-01T00:00:00Z"\n# ///\n',
]

PYPROJECTS: list[Any] = [
    {
        "project": {
            "name": "lesson",
            "version": "0.1.0",
            "requires-python": ">=3.9,<3.13",
            "dynamic": ["readme"],
            "dependencies": ["six==1.16.0", "idna>=3; python_version < '3.13'", "x @ https://host/x.whl"],
            "optional-dependencies": {"plot": ["matplotlib"]},
        },
        "dependency-groups": {"dev": ["pytest", {"include-group": "lint"}], "lint": ["ruff"]},
        "tool": {"poetry": {"package-mode": False}, "uv": {"index": [{"name": "corp", "url": "https://host/simple"}]}},
    },
    {
        "tool": {
            "poetry": {
                "name": "old",
                "version": "1",
                "dependencies": {
                    "python": "^3.9",
                    "six": "^1.16",
                    "numpy": [{"version": "1", "python": "<3.9"}, {"version": "^2"}],
                    "x": {"git": "https://host/x.git"},
                },
                "group": {"dev": {"optional": True, "dependencies": {"pytest": "*"}}},
                "dev-dependencies": {"black": "~24"},
                "source": [{"name": "corp", "url": "https://host/simple", "priority": "explicit"}],
            }
        }
    },
    {
        "project": {"name": "p", "dependencies": ["six"], "optional-dependencies": {"a": ["idna"]}},
        "tool": {
            "pdm": {
                "source": [
                    {
                        "name": "corp",
                        "url": "https://${USER}@host/simple",
                        "verify_ssl": False,
                        "include_packages": ["a*"],
                    }
                ],
                "dev-dependencies": {"t": ["pytest"]},
                "resolution": {"overrides": {"a": "1"}, "excludes": ["b"]},
            }
        },
    },
    {},
]
POETRY_TOMLS: list[Any] = [
    {"virtualenvs": {"in-project": True, "options": {"system-site-packages": False}}},
    {"virtualenvs": {"create": False}},
    {"installer": {"parallel": True}},
]

POETRY_LOCKS: list[Any] = [
    {
        "package": [
            {
                "name": "six",
                "version": "1.16.0",
                "description": "",
                "optional": False,
                "python-versions": "*",
                "groups": ["main", "dev"],
                "markers": {"main": "os_name == 'posix'"},
                "files": [{"file": "six.whl", "hash": HASH}],
            },
            {
                "name": "idna",
                "version": "3.6",
                "optional": False,
                "python-versions": ">=3.5",
                "groups": ["main"],
                "markers": "python_version > '3'",
                "files": [],
                "source": {"type": "legacy", "url": "https://host/simple", "reference": "corp"},
            },
            {
                "name": "x",
                "version": "1",
                "optional": True,
                "groups": ["main"],
                "files": [],
                "source": {"type": "git", "url": "https://host/x.git", "resolved_reference": "abc"},
            },
        ],
        "extras": {"plot": ["x"]},
        "metadata": {"lock-version": "2.1", "python-versions": ">=3.9", "content-hash": "0" * 64},
    },
    {"package": [{"name": "six", "version": "1.16.0"}], "metadata": {"lock-version": "1.1", "files": {}}},
]
UV_LOCKS: list[Any] = [
    {
        "version": 1,
        "revision": 3,
        "requires-python": ">=3.11",
        "package": [
            {
                "name": "six",
                "version": "1.16.0",
                "source": {"registry": "https://host/simple"},
                "sdist": {"url": "https://host/six.tar.gz", "hash": HASH, "size": 1},
                "wheels": [{"url": "https://host/six.whl", "hash": HASH}],
            }
        ],
    }
]
PYLOCKS: list[Any] = [
    {
        "lock-version": "1.0",
        "created-by": "uv",
        "requires-python": ">=3.11",
        "environments": ["sys_platform == 'linux'"],
        "extras": ["a"],
        "packages": [
            {
                "name": "six",
                "version": "1.16.0",
                "index": "https://host/simple",
                "marker": "os_name == 'posix'",
                "wheels": [
                    {
                        "name": "six.whl",
                        "url": "https://host/six.whl",
                        "upload-time": "x",
                        "hashes": {"sha256": "0" * 64},
                    }
                ],
            },
            {"name": "y", "directory": {"path": "y", "editable": True}},
            {"name": "z", "vcs": {"type": "git", "url": "https://host/z.git", "commit-id": "abc"}},
            {"name": "w", "archive": {"url": "https://host/w.zip", "hashes": {}}},
            {"name": "v", "sdist": {"path": "v.tar.gz"}},
        ],
    }
]
PDM_LOCKS: list[Any] = [
    {
        "metadata": {
            "groups": ["default", "dev"],
            "strategy": ["inherit_metadata"],
            "lock_version": "4.5.0",
            "content_hash": "sha256:0",
            "targets": [{"requires_python": ">=3.9"}],
        },
        "package": [
            {
                "name": "six",
                "version": "1.16.0",
                "requires_python": ">=2.7",
                "summary": "",
                "groups": ["default"],
                "marker": "os_name == 'posix'",
                "files": [{"file": "six.whl", "hash": HASH}],
            },
            {"name": "x", "version": "1", "path": "./x", "editable": True, "groups": ["dev"]},
            {"name": "g", "version": "1", "git": "https://host/g.git", "revision": "abc", "ref": "main"},
            {
                "name": "u",
                "version": "1",
                "url": "https://host/u.whl",
                "subdirectory": "s",
                "dependencies": ["six>=1; python_version < '4'"],
                "extras": ["e"],
            },
        ],
    },
    {
        "metadata": {"lock_version": "4.1", "files": {"six 1.16.0": [{"url": "https://host/six.whl", "hash": HASH}]}},
        "package": [{"name": "six", "version": "1.16.0", "dependencies": ["six"]}],
    },
]
PIPFILE_LOCKS: list[Any] = [
    {
        "_meta": {
            "hash": {"sha256": "0" * 64},
            "pipfile-spec": 6,
            "requires": {"python_version": "3.11"},
            "sources": [{"name": "pypi", "url": "https://user:pw@host/simple", "verify_ssl": True}],
        },
        "default": {
            "six": {"hashes": [HASH], "index": "pypi", "markers": "os_name == 'posix'", "version": "==1.16.0"},
            "x": {"git": "https://host/x.git", "ref": "abc", "subdirectory": "s"},
            "y": {"path": ".", "editable": True, "extras": ["a"]},
            "z": {"file": "https://host/z.whl"},
        },
        "develop": {"idna": "==3.6", "any": "*"},
    }
]
PIPFILES: list[Any] = [
    {
        "source": [{"name": "pypi", "url": "https://host/simple", "verify_ssl": True}],
        "packages": {"six": "==1.16.0"},
        "dev-packages": {"idna": "*"},
        "requires": {"python_version": "3.11"},
    }
]

REQUIREMENTS = [
    f"--index-url https://user:pw@host/simple\n--extra-index-url https://host/other\n--trusted-host host:8080\nsix==1.16.0 ; os_name == 'posix' \\\n    --hash={HASH}\nidna>=3  # a comment\n",
    "-r other.txt\n-c constraints.txt\n-e ./x[extra]\n-e git+https://host/x.git@abc#egg=x\n./y.whl\nhttps://host/z-1.0-py3-none-any.whl ; python_version < '4'\nx @ https://host/x.whl\n",
]
ENVIRONMENT_YMLS = [
    "name: lesson\nchannels:\n  - conda-forge\n  # a comment\n  - nodefaults\ndependencies:\n  - python=3.11\n  - numpy>=1.26\n  - pip:\n    - six==1.16.0\n    - -r requirements.txt\nvariables:\n  A: b\n",
    "channels: [conda-forge, 'https://host/c']\ndependencies: [python]\nprefix: /x\n",
]
SPECIFIERS = (
    "3.12",
    "3.12.4",
    "3.*",
    "3.12.*",
    "==3.12.*",
    ">=3.9,<3.13",
    ">=3.9 <3.13",
    "~=3.11",
    "^3.10",
    "~3.9 || ~3.11",
    "3.10 || 3.12",
    "*",
    "!=3.11",
    "<",
    ">",
    "=",
    "|",
    "||",
    ",",
    " ",
    ".",
)

PIP_CONFS = [
    "[global]\nindex-url = https://user:pw@host/simple\nextra-index-url =\n    https://host/a\n    https://host/b\ntrusted-host = host\ncert = /etc/ca.pem\n",
    "[install]\nfind_links = /wheels\n[freeze]\ntimeout = 10\n",
]
UV_TOMLS: list[Any] = [
    {
        "index": [{"name": "corp", "url": "https://user:pw@host/simple", "default": True}],
        "index-strategy": "first-index",
        "exclude-newer": "2024-01-01",
    },
    {
        "index-url": "https://host/simple",
        "pip": {"index-strategy": "unsafe-best-match"},
        "constraint-dependencies": ["six<2"],
    },
]

METADATA = [
    "Metadata-Version: 2.1\nName: six\nVersion: 1.16.0\nRequires-Dist: idna>=3 ; extra == 'a'\nRequires-Dist: numpy\nRequires-Python: >=3\n\nA description\n",
]
RECORDS = [
    f"six.py,sha256=abc,34159\nsix-1.16.0.dist-info/METADATA,{HASH},1795\n../../bin/six,,\n__pycache__/six.pyc,,\nsix-1.16.0.dist-info/RECORD,,\n"
]

KERNELS: list[Any] = [
    {
        "argv": [
            "/usr/bin/python3",
            "-IS",
            "/data/guard.py",
            "py312",
            "{connection_file}",
            "COLAB_ENV_MACHINE_PYTHON=/usr/bin/python3",
            "/p/.venv/bin/python",
            "-f",
            "{connection_file}",
        ],
        "display_name": "Python 3.12 (lesson)",
        "language": "python",
        "env": {},
        "metadata": {"debugger": True, "colab_env": {"project": "/p", "tier": "plain", "layer": "/l"}},
    },
    {"argv": ["R", "--slave"], "display_name": "R", "language": "R"},
]

JOURNAL: list[Any] = [
    {"step": "setup", "path": "/p/.venv", "before": None, "after": "tree", "made": ["/p"]},
    {
        "step": "setup",
        "path": "/p/x",
        "before": {"kind": "file", "sha256": "0" * 64, "mode": 420, "mtime_ns": 1},
        "after": "0" * 64,
        "made": [],
    },
    {"step": "setup", "path": "/p/y", "before": {"kind": "link", "link": "z"}, "after": {"moved_to": "/q"}, "made": []},
    {"step": "setup", "path": "/usr/local", "before": {"kind": "directory"}, "after": {"saved": "/s"}, "made": []},
    {"undone": "/p/x", "made": ["/p"]},
]

UV_LINES = [
    "Resolved 2 packages in 1ms",
    "Downloading numpy (15.1MiB)",
    "Downloaded numpy",
    " + six==1.16.0",
    " + x==1 (from https://host/x.whl)",
    " + y @ file:///y",
    "DEBUG Identified uncached distribution: six",
    "error: Failed to fetch: `https://user:pw@host/simple/six/`",
    "  × Failed to build `x==1`",
    "  ╰─▶ hint",
    "Hash mismatch for `six==1.16.0`",
    "error: No solution found when resolving dependencies",
    "The lockfile at `uv.lock` needs to be updated",
    "No space left on device",
    "The requested interpreter resolved to Python 3.8, which is incompatible with the `pylock.toml`'s Python requirement: `>=3.11`",
    "No download found for request",
]
CONDA_LINES = [
    '{"exception_name": "PackagesNotFoundError", "message": "The following packages are not available\\n - x"}',
    '{"error": "x", "message": ["a"]}',
    "LibMambaUnsatisfiableError: Encountered problems",
    "Pip subprocess error:",
    "  • https://repo.anaconda.com/pkgs/main",
    "CondaToSNonInteractiveError: Terms of Service have not been accepted",
    "[Errno 28] No space left on device",
    "{",
    "}",
    "md5sum mismatch",
]
POETRY_LINES = [
    "pyproject.toml changed significantly since poetry.lock was last generated.",
    "Because lesson depends on x (1.0) which doesn't match any versions, version solving failed.",
    "Note: This error originates from the build backend, and is likely not a problem with poetry but one of the following issues with x (1.0)",
    "Unable to build x (1)",
    "All attempts to connect to host failed.",
    "PEP517 build of a dependency failed",
    "No file/folder found for package lesson",
    "No space left on device",
]
PAGES = [
    "<!DOCTYPE html><html><head><title>Sign in</title></head><body><form action='/x'><input></form></body></html>",
    "<a href='six-1.16.0-py3-none-any.whl#sha256=0'>six</a>",
    "<title",
    "<TITLE>\n a \0 b </TITLE><script>",
]
SIMPLE: list[Any] = [
    {
        "meta": {"api-version": "1.0"},
        "name": "pip",
        "files": [{"filename": "pip-24.0-py3-none-any.whl", "url": "https://host/pip.whl", "hashes": {}}],
    }
]
REMEMBERED: list[Any] = [{"version": 1, "indexes": {"https://host": {"complete": True, "again": 2_000_000_000}}}]
STAT = ["1234 (py) thon) S 1 1 1 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 123456 1 1 1 1 1 1"]

NATIVE_LINES = [
    "/bin/sh: 1: pkg-config: not found",
    "a.c:3:10: fatal error: poppler/cpp/x.h: No such file or directory",
    "/usr/bin/ld: cannot find -lhdf5: No such file or directory",
    "error: command '/usr/bin/gcc' failed with exit code 1",
    "CMake Error at CMakeLists.txt:12 (find_package):",
    "  Could NOT find ZLIB (missing: ZLIB_LIBRARY)",
    '../meson.build:31:9: ERROR: Dependency "cairo" not found, tried pkgconfig',
    "FileNotFoundError: [Errno 2] No such file or directory: 'gdal-config'",
    "Error: Please make sure the libxml2 and libxslt development packages are installed.",
    "Traceback (most recent call last):",
    "ImportError: libGL.so.1: cannot open shared object file: No such file or directory",
    "ValueError: Namespace Gtk not available",
    "Killed",
    '12 openat(AT_FDCWD, "/usr/include/a.h", O_RDONLY) = -1 ENOENT (No such file or directory)',
    '12 execve("/usr/bin/pkg-config", ["pkg-config", "x"], 0x7 /* 9 vars */) = 0',
    "12 +++ exited with 1 +++",
    "find_library usb-1.0",
]
NATIVE_SOURCES = [
    '#ifndef A\n#define A\n#include <ffi.h>\n#ifdef B\n#include "b.h"\n#endif\n#endif\n',
    "Extension('a', ['a.c'], libraries=['z', 'm'])\nrun(['pkg-config', '--cflags', 'cairo'])\n'gdal-config'\n",
    "dependency('glib-2.0', required: false)\nfind_package(OpenCV REQUIRED)\npkg_check_modules(X REQUIRED y>=1)\n",
    '[external]\nhost-requires = ["dep:generic/libwebp"]\n[build-system]\nrequires = ["maturin"]\n',
    'cdef extern from "gmp.h":\n',
]
