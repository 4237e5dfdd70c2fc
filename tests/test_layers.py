"""The house has floors, and imports point down only."""

from __future__ import annotations

import ast
import subprocess
import sys

import pytest
from conftest import ROOT

PACKAGE = ROOT / "colab_env"

# From the roof to the ground. Modules of one set do not import each other, facts excepted.
FLOORS: list[tuple[str, set[str]]] = [
    ("doors", {"__main__"}),
    ("doors", {"cli"}),
    ("doors", {"env_cli", "step_cli", "magics", "__init__"}),
    ("verbs", {"setting_up"}),
    ("verbs", {"steps", "diagnose", "envs", "switching", "undoing", "planning"}),
    ("verbs", {"snapshots"}),
    ("verbs", {"caches"}),
    ("parts", {"restoring"}),
    ("parts", {"snapshot"}),
    ("parts", {"env_move", "env_purge"}),
    ("parts", {"env_build"}),
    ("parts", {"projects"}),
    ("parts", {"environment", "env_kernel", "env_use", "env_script"}),
    ("parts", {"kernel", "foreseen", "locked", "keeping"}),
    ("parts", {"step", "choice"}),
    ("tools", {"planned"}),
    ("tools", {"simple_index", "preflight", "named_env", "env_recipe", "sessions", "background"}
     | {"project_needs", "comparison", "linking", "conda_env"}),
    ("tools", {"lockfiles"}),
    ("tools", {"conda", "uv", "uv_install", "poetry", "venv", "kernelspec", "notebook", "open_in_colab", "pyproject"}
     | {"colab_layer", "system"}),
    ("tools", {"guard", "shim", "env_base", "env_names", "env_unit", "_overlay_undo"}),
    ("tools", {"distributions", "requirements_text", "pylock", "poetry_lock"}),
    ("tools", {"index", "installers", "json_text", "script_block", "wheels", "uv_progress"}
     | {"_conda_run", "_overlay", "_relocate"}),
    ("tools", {"conda_faults", "_originals"}),
    ("edges", {"_process", "_download", "_unpack", "_cache"}),
    ("edges", {"_archive"}),
    ("edges", {"_files"}),
    ("edges", {"_journal"}),
    ("screen", {"_report"}),
    ("facts", {"_tar", "errors", "interpreter", "names", "pins", "results", "runtime"}),
    ("copies", {"_leave", "_plain"}),
]  # fmt: skip
# They run in another process or under another Python. They import nothing of the package but each other, by relative
# imports where they are copied as a package of their own, and nothing imports them; what COPIES adds is used here too.
STANDALONE = {"_launch", "_preflight", "_colab_kernel", "_guard", "_remote", "_remote_magics"}
COPIES = {"_leave", "_plain", *STANDALONE}

MODULES = {path.stem: ast.parse(path.read_text()) for path in PACKAGE.glob("*.py")}
LEVEL = {module: level for level, (_, modules) in enumerate(FLOORS) for module in modules}


def imports(module: str) -> set[str]:
    """Return the modules of this package that a module imports, anywhere in its text."""
    found: set[str] = set()
    for node in ast.walk(MODULES[module]):
        if isinstance(node, ast.ImportFrom) and node.level:
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module == "colab_env":
            found |= {name.name if name.name in MODULES else "__init__" for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("colab_env."):
            found.add(node.module.split(".")[1])
        elif isinstance(node, ast.Import):
            found |= {name.name.split(".")[1] for name in node.names if name.name.startswith("colab_env.")}
    return found


def test_every_module_has_its_place():
    assert set(MODULES) - STANDALONE == set(LEVEL)
    assert len(LEVEL) == sum(len(modules) for _, modules in FLOORS)


@pytest.mark.parametrize("module", sorted(MODULES))
def test_imports_point_down_only(module):
    if module in STANDALONE:
        assert imports(module) & set(MODULES) <= COPIES
        assert not any(name.startswith("colab_env") for name in standard_modules(MODULES[module]))
        return
    facts = FLOORS[-2][1]
    wrong = {other for other in imports(module) if other in STANDALONE or LEVEL[other] <= LEVEL[module]}
    assert wrong <= (facts if module in facts else set())


def calls(tree: ast.AST) -> set[str]:
    return {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}


def standard_modules(tree: ast.AST) -> set[str]:
    nodes = list(ast.walk(tree))
    plain = {name.name for node in nodes if isinstance(node, ast.Import) for name in node.names}
    return plain | {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)}


def test_only_one_module_starts_processes():
    assert {module for module, tree in MODULES.items() if "subprocess" in standard_modules(tree)} - STANDALONE == {
        "_process"
    }


def test_only_the_screen_and_the_doors_print():
    printing = {module for module, tree in MODULES.items() if "print" in calls(tree)} - COPIES
    assert printing <= {"_report", "cli", "env_cli"}


def test_only_the_doors_choose_the_exit_code():
    leaving = {module for module, tree in MODULES.items() if {"sys.exit", "exit", "quit"} & calls(tree)} - STANDALONE
    assert leaving <= {"__main__", "cli", "env_cli"}


def test_nobody_changes_the_working_directory():
    assert {module for module, tree in MODULES.items() if {"os.chdir", "contextlib.chdir"} & calls(tree)} == set()


def test_only_the_documented_steps_change_environment_variables():
    targets = {
        module
        for module, tree in MODULES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and any("os.environ" in ast.unparse(target) for target in node.targets)
    }
    assert targets - COPIES <= {"steps", "undoing"}  # PATH, and PATH back


def test_importing_the_package_loads_none_of_its_rooms_and_no_other_package():
    code = (
        "import sys; before = set(sys.modules); import colab_env; loaded = set(sys.modules) - before;"
        "print(*sorted(name for name in loaded if name.startswith('colab_env.') or name in"
        " {'requests', 'tomlkit', 'nbformat', 'packaging', 'IPython', 'asyncio', 'subprocess'}))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_every_public_name_is_there_and_says_what_it_does():
    import colab_env

    for name in colab_env.__all__:
        assert getattr(colab_env, name).__doc__, name
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        colab_env.nothing  # noqa: B018


def test_every_error_has_its_own_exit_code_and_the_tree_shows_it():
    from colab_env import errors

    classes = [each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, Exception)]
    codes = {each.__name__: each.exit_code for each in classes}
    assert len(set(codes.values())) == len(codes)
    for name, code in codes.items():
        (line,) = [line for line in (errors.__doc__ or "").splitlines() if f"{name} " in line]
        assert str(code) in line.split()


def test_the_standalone_files_need_nothing_newer_than_their_python():
    # Kernels run under Python 3.8 too.
    for module in COPIES & set(MODULES):
        ast.parse((PACKAGE / f"{module}.py").read_text(), feature_version=(3, 8))
