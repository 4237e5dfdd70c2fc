"""What a set-up will bring, hide and clash with, said before anything is installed."""

from __future__ import annotations

from pathlib import Path

import pytest
from packaging.requirements import Requirement

import colab_env
from colab_env.errors import KeepError, NoSuchPythonError, UsageError
from colab_env.formats import poetry_lock, pylock_toml
from colab_env.interpreter import Interpreter, parse_specifier, unsupported_python_message
from colab_env.locks import requirements_text
from colab_env.plans import distributions, keeping
from colab_env.plans.distributions import Sides
from colab_env.plans.keeping import Lock, SystemPackages
from colab_env.pyproject import Pyproject

MARKERS = {"python_version": "3.12", "python_full_version": "3.12.1", "sys_platform": "linux", "os_name": "posix"}
LOCK = """\
# this file was made by a tool
numpy==2.3.1 ; python_version >= "3.11" \\
    --hash=sha256:aaaa \\
    --hash=sha256:bbbb
torch==2.6.0
Old.Name==1.0 ; python_version < "3.8"
pandas==2.2.3  # as it was
tool @ git+https://example.com/tool.git@0123abc
-e ./own ; python_version > "3"
flask>=3
"""


def site(directory: Path, *lines: str) -> Path:
    """Write installed distributions: "name version needs; needs"."""
    for line in lines:
        name, version, *rest = line.split(" ", 2)
        needs = [each.strip() for each in rest[0].split("|")] if rest else []
        info = directory / f"{name}-{version}.dist-info"
        files = {
            directory / name / "__init__.py": f'version = "{version}"\n',
            info / "METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
            + "".join(f"Requires-Dist: {each}\n" for each in needs),
        }
        for path, text in files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        listed = "".join(f"{path.relative_to(directory)},,{len(text)}\n" for path, text in files.items())
        (info / "RECORD").write_text(f"{listed}../../../bin/{name},,100\n{info.name}/RECORD,,\n")
    return directory


def vm(tmp_path: Path) -> dict[str, distributions.Distribution]:
    place = site(
        tmp_path / "dist-packages",
        "numpy 2.1.3",
        "torch 2.6.0+cu124 numpy<2.3 | triton==3.2.0 | other; extra == 'all' | old; python_version < '3.0'",
        "triton 3.2.0",
        "tensorflow 2.18.0 numpy<2.2,>=1.26",
        "pandas 2.2.3 numpy>=1.22",
    )
    return distributions.read([place])


def machine(tmp_path: Path, version: str = "3.12.11") -> SystemPackages:
    python = Interpreter(path=Path("/usr/bin/python3"), version=version, source="system")
    return SystemPackages(python=python, packages=vm(tmp_path), markers=MARKERS)


def lock(text: str = LOCK, *needs: distributions.Need) -> Lock:
    return Lock(required=requirements_text.read(text, MARKERS), needs=needs)


def sides(tmp_path: Path, *, text: str = LOCK, visible: bool = True, **more: object) -> Sides:
    there = vm(tmp_path)
    wanted = requirements_text.read(text, MARKERS)
    return Sides(required=wanted, machine=there, visible=there if visible else {}, markers=MARKERS, **more)


KERNEL = Interpreter(path=Path("/x/python"), version="3.12.4", source="uv")


# --- reading


def test_requirements_are_read_with_markers_hashes_comments_and_places():
    found = requirements_text.read(LOCK, MARKERS)
    assert {name: each.version for name, each in found.items()} == {
        "numpy": "2.3.1",
        "torch": "2.6.0",
        "pandas": "2.2.3",
        "tool": "git+https://example.com/tool.git@0123abc",
        "own": "./own",
        "flask": ">=3",
    }
    assert {name for name, each in found.items() if each.exact} == {"numpy", "torch", "pandas"}


def test_what_an_extra_needs_is_needed_with_it_alone():
    needs = (Requirement("plain"), Requirement("fast; extra == 'quick'"), Requirement("old; python_version < '3'"))
    found = distributions.Distribution(name="x", version="1", requires=needs, info=Path("x-1.dist-info"))
    assert [each.name for each in found.needs(MARKERS)] == ["plain"]
    assert [each.name for each in found.needs(MARKERS, ["quick"])] == ["plain", "fast"]


def test_a_line_taken_out_goes_with_its_hashes_and_every_other_line_stays():
    left = requirements_text.without(LOCK, {"numpy", "old-name"})
    gone = [*LOCK.splitlines()[1:4], LOCK.splitlines()[5]]
    assert left.splitlines() == [line for line in LOCK.splitlines() if line not in gone]
    assert requirements_text.without(LOCK, set()) == LOCK


def test_a_poetry_lock_is_read_by_groups_with_the_markers_of_each():
    text = """
[[package]]
name = "one"
version = "1.0"
groups = ["main", "dev"]
markers = {dev = "python_version < '3.0'"}
[[package]]
name = "two"
version = "2.0"
groups = ["dev"]
[[package]]
name = "three"
version = "3.0"
optional = true
groups = ["main"]
[[package]]
name = "four"
version = "4.0"
groups = ["main"]
[package.source]
type = "git"
url = "https://example.com/four.git"
resolved_reference = "0123abc"
"""

    def found(*groups: str) -> dict[str, str]:
        wanted = requirements_text.read(poetry_lock.read(text, groups), MARKERS)
        return {name: each.version for name, each in wanted.items()}

    assert found() == {"one": "1.0", "four": "git+https://example.com/four.git@0123abc"}
    assert found("dev") == {**found(), "two": "2.0"}
    older = '[[package]]\nname = "six"\nversion = "1"\n'
    assert poetry_lock.read(older, []) == "six==1\n"


def test_a_pylock_is_read_with_its_markers_and_places():
    text = """
[[packages]]
name = "one"
version = "1"
marker = "python_version < '3.0'"
[[packages]]
name = "two"
version = "2"
marker = "'gpu' in extras"
[[packages]]
name = "three"
directory = {path = "../three"}
"""
    found = requirements_text.read(pylock_toml.read(text), MARKERS)
    assert sorted((each.name, each.version) for each in found.values()) == [("three", "../three"), ("two", "2")]


@pytest.mark.parametrize(
    ("text", "fits", "does_not"),
    [
        ("^2.6", "2.9", "3.0"),
        ("^0.21.3", "0.21.9", "0.22"),
        ("~1.2.3", "1.2.9", "1.3"),
        ("~1.2", "1.2.9", "1.3"),
        ("~1", "1.9", "2.0"),
        ("1.2.3", "1.2.3+cu124", "1.2.4"),
        ("1.2.*", "1.2.9", "1.3"),
        (">=1.2,<2.0", "1.5", "2.0"),
        (">=1.2 <2.0", "1.5", "2.0"),
        ("^1.0 || ^3.0", "3.1", "2.0"),
        ("~=1.4", "1.9", "2.0"),
    ],
)
def test_poetry_s_ranges_are_poetry_s(tmp_path, text, fits, does_not):
    (tmp_path / "pyproject.toml").write_text(f'[tool.poetry.dependencies]\npython = "^3.8"\nThing = "{text}"\n')
    (need,) = distributions.project_needs(Pyproject.read(tmp_path), MARKERS)
    assert need.name == "thing"
    assert (need.accepts(fits), need.accepts(does_not)) == (True, False)


def test_a_project_s_wishes_come_from_all_its_tables(tmp_path):
    (tmp_path / "pyproject.toml").write_text("""
[project]
dependencies = ["torch==2.6.0", "numpy>=2 ; python_version < '3'", "=broken"]
[project.optional-dependencies]
gpu = ["cupy>=13"]
never = ["jax<1"]
[dependency-groups]
dev = ["pytest>=8", {include-group = "x"}]
[tool.poetry.dependencies]
torch = {source = "pytorch"}
own = {path = "../own"}
many = [{version = "^1", python = "<3.9"}, {version = "^2", python = ">=3.9"}]
[tool.poetry.group.docs.dependencies]
sphinx = "*"
""")
    found = distributions.project_needs(Pyproject.read(tmp_path), MARKERS, extras=["gpu"])
    assert [each.name for each in found] == ["torch", "cupy", "pytest", "own", "many", "sphinx"]
    assert distributions.needs_refusal(found, "torch", "2.6.0+cu124") is None
    assert distributions.needs_refusal(found, "torch", "2.7.0") == "==2.6.0"
    assert distributions.needs_refusal(found, "own", "1.0") == "another place"
    assert distributions.needs_refusal(found, "many", "2.3") is None
    assert distributions.needs_refusal(found, "unknown", "1") is None


def test_damaged_metadata_counts_as_nothing(tmp_path):
    place = site(tmp_path, "good 1.0 what is this? | six")
    (place / "empty-1.0.dist-info").mkdir()
    (place / "nameless-1.0.dist-info").mkdir()
    (place / "nameless-1.0.dist-info/METADATA").write_text("Metadata-Version: 2.1\n")
    (place / "debian-2.0.egg-info").write_text("Metadata-Version: 1.2\nName: debian\nVersion: 2.0\n")
    found = distributions.read([place, tmp_path / "nowhere"])
    assert sorted(found) == ["debian", "good"]
    assert [str(each) for each in found["good"].requires] == ["six"]


def test_the_first_directory_wins_as_at_an_import(tmp_path):
    one, other = site(tmp_path / "one", "six 1"), site(tmp_path / "other", "six 2", "idna 3")
    found = distributions.read([one, other])
    assert (found["six"].version, found["idna"].version) == ("1", "3")


# --- rows and conflicts


def test_each_package_stays_is_replaced_or_is_new(tmp_path):
    happens = {row.name: (row.wanted, row.machine, row.happens) for row in distributions.version_rows(sides(tmp_path))}
    assert happens["numpy"] == ("2.3.1", "2.1.3", "replaced")
    assert happens["torch"] == ("2.6.0", "2.6.0+cu124", "replaced")
    assert happens["pandas"] == ("2.2.3", "2.2.3", "same")
    assert happens["flask"] == (">=3", None, "new")
    assert distributions.only_on_machine(sides(tmp_path)) == 2


def test_a_python_that_sees_nothing_of_the_machine_gets_everything_new(tmp_path):
    scene = sides(tmp_path, visible=False)
    assert {row.happens for row in distributions.version_rows(scene)} == {"new"}
    assert {row.name: row.machine for row in distributions.version_rows(scene)}["numpy"] == "2.1.3"
    assert (distributions.only_on_machine(scene), distributions.conflicts(scene)) == (0, [])


def test_a_visible_package_that_does_not_accept_what_hides_its_neighbour_is_a_conflict(tmp_path):
    (found,) = distributions.conflicts(sides(tmp_path))
    assert str(found) == "tensorflow 2.18.0 needs numpy<2.2,>=1.26, and gets numpy 2.3.1"


def test_a_wanted_package_that_does_not_accept_a_kept_one_is_a_conflict_where_its_metadata_is_known(tmp_path):
    there = vm(tmp_path)
    known = distributions.read([site(tmp_path / "env", "vision 1.0 torch==2.5.0")])
    scene = sides(tmp_path, text="vision==1.0\n", visible=False, keep={"torch": there["torch"]}, described=known)
    assert [str(each) for each in distributions.conflicts(scene)] == [
        "vision 1.0 needs torch==2.5.0, and gets torch 2.6.0+cu124"
    ]


def test_a_kept_package_that_does_not_accept_what_the_lock_brings_is_a_conflict(tmp_path):
    scene = sides(tmp_path, keep={"torch": vm(tmp_path)["torch"]}, visible=False)
    assert [each.package for each in distributions.conflicts(scene)] == ["torch"]


# --- what is kept


def test_what_is_kept_brings_what_it_needs_and_takes_the_lock_s_where_that_does(tmp_path):
    kept = keeping.choose(["torch"], lock(), present=machine(tmp_path), python=KERNEL)
    assert list(kept.packages) == ["torch", "triton", "numpy"]  # 2.3.1 of the lock is too new for it
    assert kept.notes == (
        "kept torch 2.6.0+cu124 of this machine instead of 2.6.0, with 2 other packages that it needs",
    )
    fitting = lock(LOCK.replace("2.3.1", "2.2.0"))
    assert "numpy" not in keeping.choose(["torch"], fitting, present=machine(tmp_path), python=KERNEL).packages


def test_nothing_is_kept_for_another_python_and_it_says_so(tmp_path):
    kept = keeping.choose(["torch", "nothing"], lock(), present=machine(tmp_path, "3.13.1"), python=KERNEL)
    assert kept.packages == {}
    assert kept.notes == (
        "torch is not kept: the machine has it for Python 3.13, the environment's is 3.12",
        "nothing is not kept: the machine does not have it",
    )


def test_what_the_project_refuses_is_not_kept(tmp_path):
    def refused(name: str, text: str) -> tuple[str, ...]:
        need = distributions.Need(name=name, text=text, ranges=(parse_specifier(text),))
        kept = keeping.choose(["torch"], lock(LOCK, need), present=machine(tmp_path), python=KERNEL)
        assert kept.packages == {}
        return kept.notes

    assert refused("torch", ">=2.7") == (
        "torch is not kept: the project asks for torch >=2.7, the machine has 2.6.0+cu124",
    )
    assert refused("numpy", ">=2.3") == (
        "torch is not kept: the project asks for numpy >=2.3, the machine has 2.1.3 and torch needs that",
    )


@pytest.mark.parametrize("keep", ["torch", ["torch>=2"], [""], ["../torch"]])
def test_what_is_no_list_of_names_is_refused(keep):
    with pytest.raises(UsageError):
        keeping.names(keep)


def test_names_are_read_as_pip_reads_them():
    assert keeping.names(["Torch", "Ruamel_yaml", "torch"]) == ("torch", "ruamel-yaml")


# --- links


def test_linked_packages_import_from_the_machine_and_their_metadata_names_links_only(tmp_path):
    there = vm(tmp_path)
    target = tmp_path / "env"
    keeping.link_packages([there["torch"], there["triton"]], target)
    assert (target / "torch").resolve() == tmp_path / "dist-packages/torch"
    installed = distributions.read([target])
    assert installed["torch"].version == "2.6.0+cu124"
    assert set((target / "torch-2.6.0+cu124.dist-info/RECORD").read_text().split()) == {
        "torch,,",
        *(f"torch-2.6.0+cu124.dist-info/{name},," for name in ("METADATA", "INSTALLER", "RECORD")),
    }


def test_parts_of_a_namespace_and_of_a_shared_directory_are_linked_one_by_one(tmp_path):
    place = site(tmp_path / "vm", "nvidia_one 1", "nvidia_two 1", "google_part 1")
    for name, files in {
        "nvidia_one": ["nvidia/__init__.py", "nvidia/one/__init__.py", "nvidia/one/lib/x.so"],
        "nvidia_two": ["nvidia/__init__.py", "nvidia/two/__init__.py", "two.libs/y.so"],
        "google_part": ["google/part/__init__.py"],
    }.items():
        for each in files:
            (place / each).parent.mkdir(parents=True, exist_ok=True)
            (place / each).write_text("")
        with (place / f"{name}-1.dist-info/RECORD").open("a") as record:
            record.write("".join(f"{each},,0\n" for each in files))
    (place / "google/unasked").mkdir()
    keeping.link_packages(distributions.read([place]).values(), tmp_path / "env")
    links = {str(path.relative_to(tmp_path / "env")) for path in (tmp_path / "env").rglob("*") if path.is_symlink()}
    links = {link for link in links if "dist-info" not in link}
    expected = {"nvidia/__init__.py", "nvidia/one", "nvidia/two", "two.libs", "google/part"}
    assert links == expected | {"nvidia_one", "nvidia_two", "google_part"}


def test_something_of_another_package_in_the_way_is_an_error(tmp_path):
    (tmp_path / "env/torch").mkdir(parents=True)
    (tmp_path / "env/torch/__init__.py").write_text("another")
    with pytest.raises(KeepError, match="cannot be kept"):
        keeping.link_packages([vm(tmp_path)["torch"]], tmp_path / "env")


def test_debian_s_oldest_metadata_is_linked_as_a_modern_one(tmp_path):
    place = tmp_path / "vm"
    place.mkdir()
    (place / "old.py").write_text("")
    (place / "old-1.0.egg-info").write_text("Metadata-Version: 1.1\nName: old\nVersion: 1.0\n")
    keeping.link_packages(distributions.read([place]).values(), tmp_path / "env")
    assert (tmp_path / "env/old.py").is_symlink()
    assert distributions.read([tmp_path / "env"])["old"].info.name == "old-1.0.dist-info"


# --- a Python that has moved on


@pytest.mark.parametrize(
    ("version", "asked", "sentence"),
    [
        ("3.13.1", "<3.13", "Colab has moved to 3.13; pyproject.toml needs <3.13; use python='3.12'"),
        ("3.13.1", ">=3.10,<3.12", "Colab has moved to 3.13; pyproject.toml needs <3.12,>=3.10; use python='3.11'"),
        ("3.12.1", ">=3.13", "Colab has moved to 3.12; pyproject.toml needs >=3.13; use python='3.13'"),
        ("3.12.1", ">=3.12.4", "Colab has moved to 3.12.1; pyproject.toml needs >=3.12.4; use python='3.12'"),
        ("3.11.7", "==3.10.6", "Colab has moved to 3.11; pyproject.toml needs ==3.10.6; use python='3.10.6'"),
        ("3.12.1", "<3", "Colab has moved to 3.12; pyproject.toml needs <3"),
        ("3.12.1", ">=3.8", None),
    ],
)
def test_a_project_that_the_machine_s_python_does_not_suit_is_told_so(version, asked, sentence):
    assert (
        unsupported_python_message(version, parse_specifier(asked), asking="pyproject.toml", is_colab=True) == sentence
    )


def test_outside_colab_the_sentence_speaks_of_this_machine():
    said = unsupported_python_message("3.13.1", parse_specifier("<3.13"), asking="pyproject.toml", is_colab=False)
    assert said.startswith("This machine's Python is 3.13; ")


def test_no_other_python_is_proposed_where_one_that_fits_was_found() -> None:
    asked = parse_specifier(">=3.12")
    said = [
        unsupported_python_message("3.11.2", asked, asking="pyproject.toml", is_colab=False, found=found)
        for found in ("3.13", "3.12", "3.11")
    ]
    has = "This machine's Python is 3.11; pyproject.toml needs >=3.12"
    assert said == [has, f"{has}; use python='3.12'", f"{has}; use python='3.12'"]


def test_a_set_up_with_the_machine_s_pythons_says_it_too(project, pythons):
    (project / "pyproject.toml").write_text('[project]\nname = "x"\nversion = "1"\nrequires-python = "<3.6"\n')
    with pytest.raises(NoSuchPythonError) as caught:
        colab_env.install_python(project=project, interpreter="system")
    assert "This machine's Python is 3." in caught.value.hint
    assert "needs <3.6; none that fits can be installed" in caught.value.hint
