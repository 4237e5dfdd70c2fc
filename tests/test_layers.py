"""The house has floors, and imports point down only."""

from __future__ import annotations

import ast
import functools
import subprocess
import sys

import pytest
from conftest import ROOT

PACKAGE = ROOT / "colab_env"

# From the roof to the ground; a name that ends with a dot is a sub-package, which is one room. Imports point down, or to a
# neighbour on the same floor, and nowhere in a circle.
FLOORS: list[tuple[str, str]] = [
    ("doors", "__main__ cli container_cli env_cli env_commands completion native_cli notebooks_cli step_cli usage magics __init__"),
    ("verbs", "adding setting_up steps planning diagnose machine_report live_proof snapshots caches container env_files env_programs envs native notebooks switching undo_changes undoing verifying"),  # noqa: E501
    ("parts", "environment interpreter_sources interpreters. image. kernel named_env. notebook_file. snapshot."),
    ("request", "request"),
    ("formats", "formats. locks. plans."),
    ("tools", "choice content proving index ipynb jupyter. miniconda. native_need. notebook open_in_colab poetry pyproject step system uv venv wheels"),  # noqa: E501
    ("io", "_download _file_locks _files _ledger _orphans _process _state _transactions part"),
    ("facts", "_log _report _screens cards errors interpreter json_text machine out_of_step package_names pins results toml_text"),
    ("copies", "standalone."),
]  # fmt: skip
SUB_PACKAGES = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
MODULES = {
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts): path
    for path in PACKAGE.rglob("*.py")
    if path.parent == PACKAGE or path.name != "__init__.py"
}
# They run in another process or under another Python. They import nothing of the package but each other, by relative
# imports where they are copied as a package of their own, and nothing imports them, but for five, which are used here too.
COPIES = {module for module in MODULES if module.startswith("standalone.")}
STANDALONE = COPIES - {
    "standalone._divert",
    "standalone._guard",
    "standalone._leave",
    "standalone._plain",
    "standalone._poetry",
}
LEVEL = {
    module: level
    for level, (_, rooms) in enumerate(FLOORS)
    for module in MODULES
    for room in rooms.split()
    if module == room or (room.endswith(".") and module.startswith(room))
}


@functools.cache
def tree_of(module: str) -> ast.Module:
    """Return what a module is made of: parsed when a test asks, as every worker collects these tests and few run them."""
    return ast.parse(MODULES[module].read_text())


@functools.cache
def imports(module: str) -> set[str]:
    """Return the modules of this package that a module imports, anywhere in its text."""
    found: set[str] = set()
    for node in ast.walk(tree_of(module)):
        if isinstance(node, ast.ImportFrom) and node.level:
            found |= {f"standalone.{name.name}" for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "colab_env":
            place = node.module.removeprefix("colab_env").removeprefix(".")
            if place in MODULES:
                found.add(place)
            else:
                named = {f"{place}.{name.name}".removeprefix(".") for name in node.names}
                names = named - SUB_PACKAGES  # the package itself, whose modules are found by looking
                found |= {name if name in MODULES else "__init__" for name in names}
        elif isinstance(node, ast.Import):
            found |= {name.name.removeprefix("colab_env.") for name in node.names if name.name.startswith("colab_env.")}
    return found


def test_a_sub_package_is_a_floor_plan_only():
    for name in SUB_PACKAGES:
        (docstring,) = ast.parse((PACKAGE / name / "__init__.py").read_text()).body
        assert isinstance(docstring, ast.Expr)


def test_every_module_has_its_place():
    assert set(MODULES) == set(LEVEL)
    assert len(FLOORS) <= 9
    rooms = [room for _, names in FLOORS for room in names.split()]
    assert len(rooms) == len({*rooms})
    assert [room for room in rooms if not room.endswith(".") and room not in MODULES] == []


@pytest.mark.parametrize("module", sorted(MODULES))
def test_imports_point_down_only(module):
    if module in STANDALONE:
        assert imports(module) & set(MODULES) <= COPIES
        assert not any(name.startswith("colab_env") for name in standard_modules(tree_of(module)))
        return
    assert {other for other in imports(module) if other in STANDALONE or LEVEL[other] < LEVEL[module]} == set()


def test_nothing_is_imported_in_a_circle():
    left = {module: imports(module) - {module} for module in MODULES}
    while ground := {module for module, others in left.items() if not others & set(left)}:
        left = {module: others for module, others in left.items() if module not in ground}
    assert left == {}


def calls(tree: ast.AST) -> set[str]:
    return {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}


def standard_modules(tree: ast.AST) -> set[str]:
    nodes = list(ast.walk(tree))
    plain = {name.name for node in nodes if isinstance(node, ast.Import) for name in node.names}
    return plain | {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)}


def test_only_one_module_starts_processes():
    assert {module for module in MODULES if "subprocess" in standard_modules(tree_of(module))} - STANDALONE == {
        "_process"
    }


# What changes the world, by the names that Python has for it.
WRITES = {
    "write_text",
    "write_bytes",
    "unlink",
    "rmdir",
    "mkdir",
    "rename",
    "symlink_to",
    "hardlink_to",
    "touch",
    "chmod",
}
SYSTEM = {
    *(
        "rename",
        "replace",
        "unlink",
        "remove",
        "rmdir",
        "mkdir",
        "makedirs",
        "symlink",
        "link",
        "chmod",
        "chown",
        "utime",
    ),
    *("truncate", "kill", "killpg", "fork", "execve", "execv", "posix_spawn", "mkfifo"),
}
READS = {"which", "disk_usage", "get_terminal_size"}
EDGES = {"_files", "_ledger", "_process", "_state", "_download", "envs", "moving"}  # their functions have such names


def changes(tree: ast.AST) -> set[str]:
    """Return the calls that write, start or download by themselves."""
    functions = [node.func for node in ast.walk(tree) if isinstance(node, ast.Call)]
    named = {(ast.unparse(each.value), each.attr) for each in functions if isinstance(each, ast.Attribute)}
    return {
        f"{owner}.{name}"
        for owner, name in named
        if (owner == "os" and name in SYSTEM)
        or (owner == "shutil" and name not in READS)
        or (name in WRITES and owner not in {"os", "shutil", *EDGES})
        or owner in {"requests", "socket", "subprocess", "urllib.request"}
    }


def test_only_modules_with_an_underscore_change_the_world():
    own = {module for module in MODULES if not module.rpartition(".")[2].startswith("_") and module != "__init__"}
    assert {module: found for module in own if (found := changes(tree_of(module)))} == {}
    assert changes(tree_of("_files"))


def test_only_the_screen_and_the_doors_print():
    printing = {module for module in MODULES if "print" in calls(tree_of(module))} - COPIES
    assert printing <= {"_report", "cli", "env_cli", "native_cli"}


def test_only_the_doors_choose_the_exit_code():
    leaving = {module for module in MODULES if {"sys.exit", "exit", "quit"} & calls(tree_of(module))} - COPIES
    assert leaving <= {"__main__", "cli", "env_cli"}


def test_nobody_changes_the_working_directory():
    assert {module for module in MODULES if {"os.chdir", "contextlib.chdir"} & calls(tree_of(module))} == {
        "standalone._compile"  # a process of its own, where what is deleted meanwhile cannot come back
    }


def test_only_the_documented_steps_change_environment_variables():
    targets = {
        module
        for module in MODULES
        for node in ast.walk(tree_of(module))
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
    for module in COPIES:
        ast.parse((PACKAGE / f"{module.replace('.', '/')}.py").read_text(), feature_version=(3, 8))
