"""A Debian package whose scripts make and remove an environment, on a machine of its own; units; cron.

The machine is an overlay over this one: dpkg and apt are the real ones, and what they write is seen by nobody else.
"""

# ruff: noqa: F811, PLW1510  the fixtures are imported; exit codes are what is looked at
from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import systemd_machine
from colab_standin.namespace import Namespace, scratch_directory, unavailable
from env_fixtures import DEMO, ROOT, base, command, stable, web, wheels  # noqa: F401
from small_wheels import write_wheel

from colab_env import envs
from colab_env.errors import UsageError
from colab_env.machine import Machine
from colab_env.named_env import units

NAME = "colab-env-demo"
CONTROL = """\
Package: {name}
Version: {version}
Architecture: all
Maintainer: Nobody <nobody@example.org>
Depends: {depends}
Description: a package of a test
"""
POSTINST = f"""\
#!/bin/sh
set -e
case "$1" in
configure | abort-remove)
    colab-env env create {NAME} --wheels /usr/share/{NAME}/wheels --quiet demo
    ;;
esac
"""
PRERM = f"""\
#!/bin/sh
set -e
if [ "$1" = remove ]; then
    colab-env env purge --if-exists --quiet {NAME}
fi
"""
REPORT = f"""\
#!/usr/bin/colab-env run {NAME} python3
import demo, sys
print(demo.version, sys.prefix, sys.argv[1:])
"""
ENVIRONMENTS = "/var/lib/python3/envs"
# A service that imports its program only after the upgrade, and a stranger who sits in its directory.
UPGRADE_WHILE_IT_RUNS = f"""
set -e
cd {ENVIRONMENTS}/{NAME}
setpriv --reuid=65534 --regid=65534 --clear-groups sleep 60 > /dev/null 2>&1 &
cd /
mkfifo /tmp/go
colab-env run {NAME} python -c 'open("/tmp/go").read(); import demo; print("runs on as", demo.version)' &
dpkg --install "$1"
echo > /tmp/go
wait $!
rm /tmp/go
"""
VARIABLES = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "DEBIAN_FRONTEND": "noninteractive"}


class PreparedMachine:
    """A machine on which only the package manager decides what is installed."""

    def __init__(self, namespace: Namespace) -> None:
        self._namespace = namespace

    def __call__(self, *words: str, check: bool = True, timeout: float = 300) -> subprocess.CompletedProcess[str]:
        argv = self._namespace.argv([shutil.which(words[0], path=VARIABLES["PATH"]) or words[0], *words[1:]], cwd="/")
        answer = subprocess.run(argv, env=VARIABLES, capture_output=True, text=True, timeout=timeout)
        assert not check or answer.returncode == 0, answer.stdout + answer.stderr
        return answer


@pytest.fixture
def machine(shared_machine: PreparedMachine) -> Iterator[PreparedMachine]:
    """The machine, on which nothing of ours is installed before and after."""
    yield shared_machine
    shared_machine("dpkg", "--purge", NAME, check=False)
    shared_machine("dpkg", "--purge", "colab-env", check=False)


@pytest.fixture(scope="module")
def shared_machine() -> Iterator[PreparedMachine]:
    if reason := unavailable() or next(
        (f"no {name}" for name in ("dpkg-deb", "apt-get") if not shutil.which(name)), None
    ):
        pytest.skip(reason)
    with scratch_directory() as scratch:
        namespace = Namespace([], scratch=scratch / "machine")
        yield PreparedMachine(namespace)
        namespace.close()


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The packages: colab-env itself, and three versions of one that uses it, of which 3.0 cannot be configured."""
    place = tmp_path_factory.mktemp("packages")
    made = {"colab-env": build_colab_env(place)}
    for version in ("1.0", "2.0", "3.0"):
        made[version] = build_demo(place, version, needs=["missing"] if version == "3.0" else [])
    return made


def build_colab_env(place: Path) -> Path:
    words = [sys.executable, ROOT / "packaging/debian/build.py", place]
    return Path(subprocess.run(words, check=True, capture_output=True, text=True).stdout.strip())


def build_demo(place: Path, version: str, *, needs: list[str]) -> Path:
    tree = place / version
    write_wheel(tree / f"usr/share/{NAME}/wheels", "demo", version, code=DEMO, programs=["demo"], needs=needs)
    write(tree / "usr/bin/colab-env-report", REPORT, mode=0o755)
    write(tree / "DEBIAN/postinst", POSTINST, mode=0o755)
    write(tree / "DEBIAN/prerm", PRERM, mode=0o755)
    return build(tree, NAME, version, depends="colab-env")


def build(tree: Path, name: str, version: str, *, depends: str) -> Path:
    write(tree / "DEBIAN/control", CONTROL.format(name=name, version=version, depends=depends))
    target = tree.with_name(f"{name}_{version}.deb")
    subprocess.run(["dpkg-deb", "--build", "--root-owner-group", tree, target], check=True, capture_output=True)
    return target


def write(path: Path, text: str, *, mode: int = 0o644) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)


def status(machine: PreparedMachine) -> str:
    return machine("dpkg-query", "--show", "--showformat=${Status} ${Version}", NAME, check=False).stdout


@pytest.mark.machine
@pytest.mark.parametrize("turn", ["first", "second"])
def test_a_package_makes_upgrades_and_removes_its_environment(machine, packages, turn):
    machine("apt-get", "install", "--yes", str(packages["colab-env"]), str(packages["1.0"]))
    assert machine("colab-env-report", "-h", "a b").stdout == f"1.0 {ENVIRONMENTS}/.builds/{NAME}/1 ['-h', 'a b']\n"
    assert machine("colab-env", "run", NAME, "demo", "-h").stdout == "1.0 -h\n"

    assert "runs on as 1.0" in machine("sh", "-c", UPGRADE_WHILE_IT_RUNS, "sh", str(packages["2.0"])).stdout
    assert machine("colab-env-report").stdout.startswith("2.0 ")
    assert status(machine) == "install ok installed 2.0"

    assert machine("dpkg", "--install", str(packages["3.0"]), check=False).returncode != 0
    assert machine("colab-env-report").stdout.startswith("2.0 "), "the old environment is still the one"
    machine("dpkg", "--install", str(packages["2.0"]))
    assert status(machine) == "install ok installed 2.0"
    assert machine("colab-env", "env", "list").stdout.startswith(f"✓ {NAME}")

    machine("dpkg", "--remove", NAME)
    assert NAME not in machine("ls", "/var/lib/python3/envs").stdout
    machine("apt-get", "remove", "--yes", "colab-env")


@pytest.mark.machine
def test_a_package_is_removed_even_after_somebody_has_purged_its_environment(machine, packages):
    machine("dpkg", "--install", str(packages["colab-env"]), str(packages["1.0"]))
    machine("colab-env", "env", "purge", NAME)
    machine("dpkg", "--remove", NAME)
    assert " installed" not in status(machine)


@pytest.mark.machine
def test_everybody_may_run_what_root_has_made(machine, packages):
    machine("dpkg", "--install", str(packages["colab-env"]), str(packages["1.0"]))
    as_nobody = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
    assert machine(*as_nobody, "/usr/bin/colab-env-report").stdout.startswith(f"1.0 {ENVIRONMENTS}/.builds/{NAME}/1 ")
    assert machine(*as_nobody, "colab-env", "env", "path", NAME).stdout == f"{ENVIRONMENTS}/{NAME}\n"
    machine("sh", "-c", "umask 077; colab-env env create closed --quiet")
    asked = ("run", "closed", "python", "-c", "import sys; print(sys.prefix)")
    for words in (("colab-env",), ("colab-env-main",)):
        assert machine(*as_nobody, *words, *asked).stdout == f"{ENVIRONMENTS}/.builds/closed/1\n"
    assert machine(*as_nobody, "colab-env", "env", "list").stdout.count("of root") == 2
    machine("colab-env", "env", "purge", "closed")
    denied = machine(*as_nobody, "colab-env", "env", "purge", NAME, check=False)
    assert denied.returncode == 6, denied.stderr
    assert "Traceback" not in denied.stderr


@pytest.mark.machine
def test_the_machines_configuration_file_is_read_by_both_programs(machine, packages):
    machine("dpkg", "--install", str(packages["colab-env"]))
    machine("sh", "-c", "echo 'base = \"/srv/envs\"' > /etc/colab-env.toml")
    machine("colab-env", "env", "create", "web")
    assert machine("colab-env", "which", "web", "python").stdout == "/srv/envs/web/bin/python\n"
    assert machine("colab-env-main", "which", "web", "python").stdout == "/srv/envs/web/bin/python\n"
    machine("sh", "-c", "mkdir -p ~/.config; echo 'base = \"/srv/mine\"' > ~/.config/colab-env.toml")
    for program in ("colab-env", "colab-env-main"):
        assert machine(program, "which", "web", "python", check=False).returncode == 31
    machine("sh", "-c", "rm ~/.config/colab-env.toml /etc/colab-env.toml")


BUILT_BY_DH = {
    "control": """\
Source: shop
Maintainer: Nobody <nobody@example.org>
Build-Depends: debhelper-compat (= 13), dh-sequence-colab-env
Standards-Version: 4.6.2

Package: shop
Architecture: all
Depends: ${misc:Depends}
Description: a package of a test
 which has an environment.
""",
    "changelog": """\
shop (1.0) unstable; urgency=low

  * One.

 -- Nobody <nobody@example.org>  Mon, 30 Nov 2026 00:00:00 +0000
""",
    "rules": "#!/usr/bin/make -f\n%:\n\tdh $@\n",
    "shop.install": "wheels/*.whl usr/share/shop/wheels\n",
    "shop.colab-env": "# made with the package\nshop --wheels /usr/share/shop/wheels 'demo\n",
}


@pytest.mark.machine
@pytest.mark.network
def test_debhelper_gives_a_package_its_environment(machine, packages, tmp_path):
    for words in (("update",), ("install", "--yes", "--no-install-recommends", "debhelper")):
        if machine("apt-get", *words, check=False).returncode:
            pytest.skip("debhelper cannot be installed here")
    machine("dpkg", "--install", str(packages["colab-env"]))
    write_wheel(tmp_path / "shop/wheels", "demo", "1.0", code=DEMO, programs=["demo"])
    for name, text in BUILT_BY_DH.items():
        write(tmp_path / "shop/debian" / name, text, mode=0o755 if name == "rules" else 0o644)
    build = (
        "sh",
        "-c",
        f"cp -r {tmp_path}/shop /tmp/shop-source && cd /tmp/shop-source && dpkg-buildpackage -us -uc -b",
    )
    wrong = machine(*build, check=False)
    assert "debian/shop.colab-env: a word must not have a quote in it: 'demo" in wrong.stderr
    write(tmp_path / "shop/debian/shop.colab-env", BUILT_BY_DH["shop.colab-env"].replace("'demo", "demo>=1"))
    machine("rm", "-r", "/tmp/shop-source")
    machine(*build)
    machine("dpkg", "--install", "/tmp/shop_1.0_all.deb")
    assert machine("colab-env", "run", "shop", "demo").stdout == "1.0\n"
    assert "Depends: colab-env\n" in machine("dpkg", "--status", "shop").stdout
    machine("dpkg", "--purge", "shop")
    assert "shop" not in machine("ls", ENVIRONMENTS).stdout


@pytest.mark.machine
@pytest.mark.network
def test_the_package_installs_in_a_fresh_debian(machine, packages, tmp_path):
    """In a root of another release that holds no more than its dependencies, as a container has it."""
    if not shutil.which("mmdebstrap") or os.geteuid():
        pytest.skip("no mmdebstrap here, or no root")
    root = tmp_path / "root"
    write_wheel(root.with_name("wheels"), "demo", "1.0", code=DEMO, programs=["demo"])
    hooks = [f"--customize-hook=copy-in {path} /srv" for path in (packages["colab-env"], tmp_path / "wheels")]
    steps = [
        "apt-get install --yes --no-install-recommends python3-pip /srv/*.deb",
        "colab-env env create shop --wheels /srv/wheels demo --quiet",
        'test "$(colab-env run shop demo)" = 1.0',
        "colab-env env check --deep",
        "apt-get purge --yes colab-env",
        "test ! -e /usr/share/colab-env",
        "/var/lib/python3/envs/shop/bin/demo",
    ]
    hooks += [f"--customize-hook=chroot \"$1\" sh -ec '{step}'" for step in steps]
    words = ["mmdebstrap", "--variant=apt", "--mode=root", "--quiet", *hooks, "trixie", str(root)]
    done = machine(*words, check=False, timeout=1800)
    if "Unable to connect" in done.stderr or "Could not resolve" in done.stderr:
        pytest.skip("no Debian archive is reached")
    assert done.returncode == 0, done.stderr[-3000:]


NEXT_PYTHON = """\
#!/bin/sh
set -e
ln -sfn python3.{minor} /usr/bin/python3
mv "$(readlink -f /usr/bin/python3.{old})" /usr/bin/the-last-python
"""
LAST_PYTHON = "mv /usr/bin/the-last-python /usr/bin/python3.{old}; ln -sfn python3.{old} /usr/bin/python3"


@pytest.mark.machine
def test_the_distributions_next_python_breaks_nothing(machine, packages, pythons, tmp_path):
    """A package brings another interpreter, and makes it the only one; nobody types a command."""
    old = Path("/usr/bin/python3").resolve().name.removeprefix("python3.")
    newer = [each for each in pythons if int(each.short_version.removeprefix("3.")) > int(old)]
    if not newer:
        pytest.skip(f"there is no Python here that is newer than the distribution's 3.{old}")
    other = newer[0]
    minor = other.short_version.removeprefix("3.")
    tree = tmp_path / "next"
    (tree / "usr/bin").mkdir(parents=True)
    shutil.copy(other.path.resolve(), tree / f"usr/bin/python3.{minor}")  # it finds its library where it was built
    write(tree / "DEBIAN/postinst", NEXT_PYTHON.format(minor=minor, old=old), mode=0o755)
    machine("dpkg", "--install", str(packages["colab-env"]), str(packages["1.0"]))
    try:
        done = machine("dpkg", "--install", str(build(tree, "the-next-python", "1.0", depends="colab-env")))
        assert machine("colab-env", "run", NAME, "demo", "-h").stdout == "1.0 -h\n", done.stdout + done.stderr
        assert machine("colab-env", "run", NAME, "python", "-V").stdout == f"Python {other.version}\n"
        assert machine("colab-env", "env", "check", NAME).stdout.startswith("✓")
    finally:
        machine("sh", "-c", LAST_PYTHON.format(old=old))
        machine("dpkg", "--purge", "the-next-python", check=False)


# units


def verify(text: str, name: str, tmp_path: Path) -> subprocess.CompletedProcess[str]:
    if not shutil.which("systemd-analyze"):
        pytest.skip("no systemd-analyze")
    path = tmp_path / f"{name}.service"
    path.write_text(text)
    words = ["systemd-analyze", "verify", "--man=no", str(path)]
    return subprocess.run(words, capture_output=True, text=True)


@pytest.mark.parametrize("arguments", [[], ["--bind", "a b", "100%", "$HOME", 'say "x"', "\\n", "é;&|"]])
def test_systemd_accepts_the_unit(web, command, tmp_path, arguments):
    text = command("unit", "web", "demo", *arguments).stdout
    answer = verify(text, "web-demo", tmp_path)
    assert answer.returncode == 0, answer.stderr
    assert str(tmp_path) not in answer.stderr, answer.stderr


def test_the_unit_is_hardened(web, command, tmp_path):
    text = command("unit", "web", "demo").stdout
    if not shutil.which("systemd-analyze"):
        pytest.skip("no systemd-analyze")
    path = tmp_path / "web-demo.service"
    path.write_text(text)
    words = ["systemd-analyze", "security", "--offline=yes", "--threshold=25", str(path)]
    answer = subprocess.run(words, capture_output=True, text=True)
    assert answer.returncode == 0, answer.stdout[-400:] + answer.stderr


def test_the_unit_names_the_account_and_the_base(web, command):
    text = envs.unit("web", "demo", "-x", user="www-data")
    assert f"ExecStart={command.path} run web demo -x\n" in text
    assert "User=www-data\n" in text
    assert f"Environment=COLAB_ENV_BASE={web.parent} HOME=" in text


def test_what_daemons_need_is_allowed(web, command):
    text = envs.unit("web", "demo")
    assert "ProcSubset" not in text  # psutil reads /proc/meminfo
    assert " HOME=/var/lib/web-demo\n" in text
    assert "WorkingDirectory=/var/lib/web-demo\n" in text
    assert "RuntimeDirectory=web-demo\n" in text
    assert "\nKillMode=mixed\n" in text  # celery's workers would drop the tasks that they are at
    filters = [line for line in text.splitlines() if line.startswith("SystemCall")]
    assert filters[-2:] == ["SystemCallFilter=@chown", "SystemCallErrorNumber=EPERM"]


@pytest.mark.parametrize(
    ("program", "arguments", "named"),
    [
        ("demo", (), "web-demo"),
        ("web", (), "web"),
        ("python", (), "web"),
        ("python3", ("-c", "pass"), "web"),
        ("python", ("-m", "http.server"), "web-http.server"),
        ("python", ("/srv/report.py", "--daily"), "web-report"),
        ("python", ("/srv/mail.py",), "web-mail"),
        ("a b", (), "web-a-b"),
    ],
)
def test_two_programs_have_two_units(program, arguments, named):
    assert units.unit_name("web", program, arguments) == named


def test_a_timer_and_its_service_are_written_for_systemd(web, command, tmp_path, monkeypatch):
    answer = command("unit", "--on-calendar", "Mon..Fri 06:30", "-o", str(tmp_path), "web", "demo", "-o", "x")
    written = [tmp_path / "web-demo.service", tmp_path / "web-demo.timer"]
    assert answer.stdout.split() == [str(path) for path in written]
    service, timer = (path.read_text() for path in written)
    assert "Type=oneshot" in service
    assert "Restart" not in service
    assert "[Install]" not in service
    assert "run web demo -o x\n" in service
    assert "OnCalendar=Mon..Fri 06:30\n" in timer
    if shutil.which("systemd-analyze"):
        words = ["systemd-analyze", "verify", "--man=no", *map(str, written)]
        done = subprocess.run(words, capture_output=True, text=True)
        assert (done.returncode, str(tmp_path) in done.stderr) == (0, False), done.stderr
    assert command("unit", "--on-calendar", "daily", "web", "demo").returncode == 2
    assert command("unit", "--on-calendar", "x\ny", "-o", str(tmp_path), "web", "demo").returncode == 2
    if shutil.which("systemd-analyze"):
        assert command("unit", "--on-calendar", "gibberish", "-o", str(tmp_path), "web", "demo").returncode == 2
    monkeypatch.setenv("PATH", str(tmp_path))  # where there is no systemd, nobody can say no
    subject = {"name": "web", "program": "demo", "arguments": ()}
    assert "=later\n" in units.timer_text(**subject, calendar="later", machine=Machine.detect())


@pytest.mark.parametrize("user", ["no such", "www-data\nExecStartPre=/bin/x", "-x", "x" * 40])
def test_what_is_no_account_runs_no_service(web, user):
    with pytest.raises(UsageError, match="is not the name of an account"):
        envs.unit("web", "demo", user=user)


@pytest.mark.parametrize(
    ("word", "written"),
    [("plain", "plain"), ("a b", '"a b"'), ("5%", '"5%%"'), ("$x", '"$$x"'), ('"', '"\\""'), ("", '""')],
)
def test_words_are_written_as_systemd_reads_them(word, written):
    assert units.quoted(word) == written


def test_a_unit_is_tried_only_where_systemd_runs(web, command):
    if os.geteuid() == 0 and Path("/run/systemd/system").is_dir():
        pytest.skip("systemd runs here")
    answer = command("unit", "--try", "web", "demo")
    assert (answer.returncode, answer.stdout) == (2, "")
    assert "on a machine where systemd runs" in answer.stderr


@pytest.mark.machine
def test_a_unit_is_tried_before_it_is_printed(packages):
    if reason := systemd_machine.reason_to_skip():
        pytest.skip(reason)
    with systemd_machine.started({}) as machine:
        machine("dpkg", "--install", str(packages["colab-env"]), str(packages["1.0"]))
        tried = ("colab-env", "unit", "--try", NAME)
        answer = machine(*tried, "python", "-c", "import time; time.sleep(600)")
        assert "DynamicUser=yes" in answer.stdout
        assert "StandardOutput" not in answer.stdout
        ended = machine(*tried, "demo", check=False)
        assert (ended.returncode, "it has ended at once" in ended.stderr) == (21, True), ended.stderr
        broken = machine(*tried, "python", "-c", "import nothing", check=False)
        assert (broken.returncode, "No module named 'nothing'" in broken.stderr) == (21, True), broken.stderr
        written = machine(
            "colab-env", "unit", "--try", "--on-calendar", "daily", "-o", "/etc/systemd/system", NAME, "demo"
        )
        assert len(written.stdout.split()) == 2
        left = machine(
            "sh", "-c", "ls -A /run/systemd/system.control /var/lib/private; ls /run | grep colab-env-try || true"
        )
        assert NAME not in left.stdout


# cron


@pytest.mark.machine
@pytest.mark.network
def test_cron_runs_a_line(machine, packages):
    if machine("apt-get", "install", "--yes", "--no-install-recommends", "cron", check=False).returncode:
        machine("apt-get", "update", check=False)
        if machine("apt-get", "install", "--yes", "--no-install-recommends", "cron", check=False).returncode:
            pytest.skip("cron cannot be installed here")
    machine("dpkg", "--install", str(packages["colab-env"]), str(packages["1.0"]))
    line = f"* * * * * root flock -n /run/demo.lock colab-env run {NAME} demo '-h' > /tmp/demo.out 2>&1"
    machine("sh", "-c", f'echo "{line}" > /etc/cron.d/demo')
    machine("sh", "-c", "cron; for i in $(seq 130); do test -s /tmp/demo.out && break; sleep 1; done")
    assert machine("cat", "/tmp/demo.out").stdout == "1.0 -h\n"
