"""`run` becomes the program: its arguments, signals, exit codes, terminal; first lines of scripts; cron and flock."""

# ruff: noqa: F811, PLW1510  the fixtures are imported; exit codes are what is looked at
from __future__ import annotations

import json
import os
import pty
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from env_fixtures import Command, base, command, install_command, shell_and_python, stable, web, wheels  # noqa: F401

from colab_env import envs
from colab_env.errors import NoSuchProgramError, ScriptError
from colab_env.machine import Machine
from colab_env.named_env import base_dirs, scripts

SHOW = "import json, os, sys; print(json.dumps([sys.argv[1:], dict(os.environ), os.getpid(), os.getppid()]))"
ROOT = Path(__file__).parents[1]
ODD = ["print(1, 2)", "a  b", "", "*", "$HOME", "`id`", "'", '"', "\\", "-h", "--", "--help", "--base", "é\n"]


def script(place: Path, text: str = "import sys; print(sys.prefix, sys.argv)") -> Path:
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(text + "\n")
    place.chmod(0o755)
    return place


# becoming the program


def test_every_argument_arrives_as_it_was(web, shell_and_python):
    for run in shell_and_python:
        assert json.loads(run("run", "web", "python", "-c", SHOW, *ODD).stdout)[0] == ODD


def test_options_after_the_program_are_the_programs(web, shell_and_python):
    for run in shell_and_python:
        assert run("run", "web", "demo", "-h").stdout == "1.0 -h\n"
        assert run("run", "web", "demo", "--base", "x", "--", "--version").stdout == "1.0 --base x -- --version\n"
        assert run("run", "--base", str(web.parent), "web", "demo", "-q").stdout == "1.0 -q\n"
        assert run("env", "run", "web", "demo", "-h").stdout == "1.0 -h\n"


def test_no_process_stays_in_between(web, shell_and_python, command):
    for name in ("colab-env", "colab-env-main"):
        words = [str(command.path.with_name(name)), "run", "web", "python", "-c", SHOW]
        process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
        _, _, pid, parent = json.loads(process.communicate()[0])
        assert (pid, parent) == (process.pid, os.getpid())


def test_the_environment_is_that_of_an_activated_one(web, shell_and_python):
    activated = subprocess.run(
        ["sh", "-c", f'. "{web}/bin/activate"; exec python -c "$0"', SHOW],
        env={**os.environ, "PYTHONHOME": "/nonsense"},
        capture_output=True,
        text=True,
        check=True,
    )
    for run in shell_and_python:
        ran = run("run", "web", "python", "-c", SHOW, env={**os.environ, "BASE": "kept", "name": "kept"})
        expected, found = (json.loads(each.stdout)[1] for each in (activated, ran))
        for variable in ("VIRTUAL_ENV", "PATH", "VIRTUAL_ENV_PROMPT"):
            assert found[variable] == expected[variable]
        assert (found["BASE"], found["name"]) == ("kept", "kept")
        assert not [name for name in found if name.startswith("_ce_")]
        assert set(found) - set(expected) <= {"BASE", "name"}


def test_pythonhome_is_dropped(web, shell_and_python):
    environ = {**os.environ, "PYTHONHOME": ""}
    assert (
        "PYTHONHOME" not in json.loads(shell_and_python[0]("run", "web", "python", "-c", SHOW, env=environ).stdout)[1]
    )
    wrong = {**os.environ, "PYTHONHOME": "/nonsense"}
    assert shell_and_python[0]("run", "web", "python", "-c", SHOW, env=wrong).returncode == 0


def test_a_wrong_pythonhome_stops_no_command(web, command):
    wrong = {**os.environ, "PYTHONHOME": "/nonsense"}
    assert command("env", "path", "web", env=wrong).stdout == f"{web}\n"
    assert command("run", "--keep-pythonpath", "web", "dmeo", env=wrong).returncode == 127


@pytest.mark.parametrize("verb", ["run", "which"])
def test_a_program_of_a_base_that_was_moved_or_copied_is_put_right_on_the_spot(web, shell_and_python, verb):
    there = web.parent.with_name("copy")
    subprocess.run(["cp", "-a", web.parent, there], check=True)
    printed = {"run": "1.0\n", "which": f"{there}/web/bin/demo\n"}[verb]
    for run in shell_and_python:
        answer = run(verb, "--base", str(there), "web", "demo")
        assert (answer.returncode, answer.stdout, answer.stderr) == (0, printed, "")
    assert (there / "web/bin/demo").read_text().startswith(f"#!{there}/.builds/web/1/bin/python\n")
    assert (web / "bin/demo").read_text().startswith(f"#!{web.parent}/.builds/web/1/bin/python\n")


def test_a_program_of_somebody_s_copied_base_never_changes_the_original(web, shell_and_python, monkeypatch):
    if os.geteuid():
        pytest.skip("only root can give a directory away")
    there = web.parent.with_name("copy")
    subprocess.run(["cp", "-a", web.parent, there], check=True)
    os.chown(there, 65534, 65534)
    for run in shell_and_python:
        for verb in ("run", "which"):
            answer = run(verb, "--base", str(there), "web", "demo")
            assert (answer.returncode, "colab-env env rollback web 1" in answer.stderr) == (35, True)
        code = "import sys; print(sys.prefix)"
        assert run("run", "--base", str(there), "web", "python", "-c", code).stdout == f"{there}/.builds/web/1\n"
    monkeypatch.setenv("COLAB_ENV_BASE", str(there))
    envs.rollback("web", 1)
    for run in shell_and_python:
        assert run("run", "web", "demo").stdout == "1.0\n"
    linked = there.with_name("linked")
    linked.symlink_to(there)
    for run in shell_and_python:
        assert run("run", "--base", str(linked), "web", "demo").stdout == "1.0\n"


def test_what_another_python_was_told_does_not_reach_the_program(web, shell_and_python, tmp_path):
    (tmp_path / "leak").mkdir()
    (tmp_path / "leak/demo.py").write_text("version = 'of somebody else'\ndef main(): print(version)\n")
    told = {"PYTHONPATH": str(tmp_path / "leak"), "PYTHONSTARTUP": "/nonsense", "VIRTUAL_ENV": "/nonsense"}
    environ = {**os.environ, **told}
    for run in shell_and_python:
        assert run("run", "web", "demo", env=environ).stdout == "1.0\n"
        seen = json.loads(run("run", "web", "python", "-c", SHOW, env=environ).stdout)[1]
        assert not {"PYTHONPATH", "PYTHONSTARTUP"} & set(seen)
        assert seen["VIRTUAL_ENV"] == str(web.resolve())
        for words in (("--keep-pythonpath",), ("--keep-pythonpath", "--base", str(web.parent))):
            assert run("run", *words, "web", "demo", env=environ).stdout == "of somebody else\n"
            assert run("run", *words[1:], words[0], "web", "dmeo", env=environ).returncode == 127


def test_the_exit_code_is_the_programs(web, shell_and_python):
    for run in shell_and_python:
        assert run("run", "web", "python", "-c", "raise SystemExit(77)").returncode == 77
        assert run("run", "web", "python", "-c", "import os; os.kill(os.getpid(), 9)").returncode == -signal.SIGKILL


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_reaches_the_program(web, command, number):
    code = (
        "import signal, sys, time\n"
        f"signal.signal({int(number)}, lambda *_: sys.exit(42))\n"
        "print('ready', flush=True)\ntime.sleep(60)"
    )
    for name in ("colab-env", "colab-env-main"):
        words = [str(command.path.with_name(name)), "run", "web", "python", "-c", code]
        process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
        process.stdout.readline()
        process.send_signal(number)
        process.communicate(timeout=300)
        assert process.returncode == 42


def test_a_broken_pipe_ends_the_program_as_usual(web, shell_and_python):
    code = "import signal; print(signal.getsignal(signal.SIGPIPE) is signal.SIG_IGN)"
    read = "import sys; print(open('/proc/self/status').read().split('SigIgn:')[1].split()[0])"
    direct = subprocess.run([web / "bin/python", "-c", read], capture_output=True, text=True, check=True).stdout
    for run in shell_and_python:
        assert run("run", "web", "python", "-c", code).returncode == 0
        assert run("run", "web", "python", "-c", read).stdout == direct


def test_open_files_are_passed_on(web, shell_and_python, tmp_path):
    for run in shell_and_python:
        with (tmp_path / "out").open("w") as handle:
            number = handle.fileno()
            run("run", "web", "python", "-c", f"import os; os.write({number}, b'x')", pass_fds=[number])
        assert (tmp_path / "out").read_text() == "x"


def test_the_terminal_is_the_programs_own(web, command):
    asked = "os.isatty(0), os.tcgetpgrp(0) == os.getpgrp(), os.getsid(0) == os.getpid()"
    code = f"import os, sys; sys.stdout.write('%s %s %s\\n' % ({asked}))"
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(command.path, [str(command.path), "run", "web", "python", "-c", code])
    with os.fdopen(terminal, encoding="utf-8") as handle:
        shown = handle.readline()
    os.waitpid(pid, 0)
    assert shown.split() == ["True", "True", "True"]


def test_a_program_that_is_not_there_is_127_and_nothing_else_is_run(web, shell_and_python):
    for run in shell_and_python:
        for program in ("ls", "dmeo", "/bin/ls", "../bin/demo", "", "activate"):
            answer = run("run", "web", program)
            assert answer.returncode == 127, program
            assert answer.stdout == ""
        assert "did you mean demo" in run("run", "web", "dmeo").stderr


def test_an_environment_that_is_not_there_gets_near_matches(web, shell_and_python):
    for run in shell_and_python:
        answer = run("run", "wbe", "demo")
        assert answer.returncode == 31
        assert "did you mean web" in answer.stderr
        assert "Traceback" not in answer.stderr


def test_a_python_that_is_gone_is_named(web, shell_and_python):
    (web / "bin/python").unlink()
    for run in shell_and_python:
        answer = run("run", "web", "demo")
        assert answer.returncode == 35
        assert "its Python is gone" in answer.stderr


def test_which_prints_the_path_and_nothing_else(web, shell_and_python):
    for run in shell_and_python:
        assert run("which", "web", "demo").stdout == f"{web}/bin/demo\n"
        assert run("which", "web", "dmeo").returncode == 127
        assert run("env", "path", "web").stdout == f"{web}\n"


def test_a_base_with_spaces_and_quotes_is_fine(tmp_path, wheels, command, monkeypatch):
    place = tmp_path / "a 'base' $HOME"
    monkeypatch.setenv("COLAB_ENV_BASE", str(place))
    envs.create("web", "demo", wheels=wheels)
    assert command("run", "web", "python", "-c", "import sys; print(sys.prefix)").stdout == f"{place}/.builds/web/1\n"


def test_the_command_works_through_a_link(web, command, tmp_path):
    (tmp_path / "link").symlink_to(command.path)
    linked = Command(tmp_path / "link")
    assert linked("env", "path", "web").stdout == f"{web}\n"
    assert linked("run", "web", "demo").stdout == "1.0\n"


@pytest.mark.parametrize("shell", ["dash", "bash", "busybox"])
def test_every_shell_reads_it(web, command, shell, monkeypatch):
    words = {"busybox": ["busybox", "sh"], "bash": ["bash", "--posix"]}.get(shell, [shell])
    try:
        answer = subprocess.run(
            [*words, command.path, "run", "web", "python", "-c", SHOW, *ODD], capture_output=True, text=True
        )
    except FileNotFoundError:
        pytest.skip(f"no {shell} here")
    assert json.loads(answer.stdout)[0] == ODD


# first lines


@pytest.mark.parametrize("folder", ["plain", "with space", "with  two 'and' quotes"])
def test_a_first_line_with_env_runs_the_script(web, command, tmp_path, folder):
    path = script(tmp_path / folder / "my script.py")
    assert envs.script(path, name="web") == "#!/usr/bin/env -S colab-env run web python3"
    answer = subprocess.run([path, "a b", "-h"], capture_output=True, text=True)
    assert answer.stdout == f"{web.resolve()} {[str(path), 'a b', '-h']}\n"


@pytest.mark.parametrize("folder", ["plain", "with space", "with  two 'and' quotes"])
def test_a_first_line_that_the_kernel_passes_as_one_argument_runs_the_script(
    web, command, tmp_path, folder, monkeypatch
):
    path = script(tmp_path / folder / "my script.py")
    line = f"#!{command.path} run web python3 -u"
    scripts.write_first_line(path, line)
    answer = subprocess.run([path, "a b", "-h"], capture_output=True, text=True)
    assert answer.stdout == f"{web.resolve()} {[str(path), 'a b', '-h']}\n"


def test_the_python_command_divides_that_one_argument_too(web, command, tmp_path):
    path = script(tmp_path / "my script.py")
    main = command.path.with_name("colab-env-main")
    answer = subprocess.run([main, "run web python3 -u", path, "a b"], capture_output=True, text=True)
    assert answer.stdout == f"{web.resolve()} {[str(path), 'a b']}\n"


def test_one_argument_is_divided_only_before_a_file(web, shell_and_python):
    for run in shell_and_python:
        assert run("run web python3", "no file").returncode == 2


def test_script_writes_the_line_for_one_argument(web, command, tmp_path, monkeypatch):
    path = script(tmp_path / "report.py")
    monkeypatch.setattr(scripts, "LONGEST_LINE", 300)
    line = envs.script(path, name="web", one_argument=True)
    assert line == f"#!{command.path} run web python3"
    assert path.read_text().startswith(line + "\n")


def test_script_replaces_the_line_that_is_there_once(web, tmp_path):
    path = script(tmp_path / "report.py", "#!/usr/bin/python3\nprint(1)")
    path.chmod(0o640)
    for _ in range(2):
        envs.script(path, name="web")
        assert path.read_text() == "#!/usr/bin/env -S colab-env run web python3\nprint(1)\n"
    assert path.stat().st_mode & 0o777 == 0o750


def test_script_takes_no_line_that_linux_would_cut(web, tmp_path):
    with pytest.raises(ScriptError, match="127"):
        scripts.first_line("web", "python3", command="/" + "x" * 127)
    path = script(tmp_path / "report.py")
    with pytest.raises(NoSuchProgramError):
        envs.script(path, name="web", program="nothing")
    with pytest.raises(ScriptError, match="PEP 723"):
        envs.script(path)


def test_a_line_of_the_machines_own_environment_says_its_base(web, command, tmp_path, monkeypatch):
    path = script(tmp_path / "report.py")
    assert scripts.first_line("web", "python3", base=Path("/srv/e")).endswith(" run --base /srv/e web python3")
    monkeypatch.setattr(scripts, "LONGEST_LINE", 300)
    monkeypatch.setattr(base_dirs, "SYSTEM", web.parent)
    assert envs.script(path, name="web") == f"#!/usr/bin/env -S colab-env run --base {web.parent} web python3"
    monkeypatch.setenv("COLAB_ENV_BASE", "/nowhere")
    assert subprocess.run([path], capture_output=True, text=True).stdout.startswith(str(web.parent))
    scripts.write_first_line(path, f"#!{command.path} run --base {web.parent} web python3")
    assert subprocess.run([path], capture_output=True, text=True).stdout.startswith(str(web.parent))
    with pytest.raises(ScriptError, match="divided at spaces"):
        scripts.first_line("web", "python3", base=Path("/srv/my envs"))


BLOCK = """# /// script
# requires-python = ">=3.8"
# dependencies = ["demo==1.0"]
# ///
import demo, sys
print(demo.version, sys.argv[1:], sys.prefix)"""


def only_from(wheels: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Set this machine up as one that knows no index."""
    (home / ".config/uv").mkdir(parents=True)
    (home / ".config/uv/uv.toml").write_text(f'no-index = true\nfind-links = ["{wheels}"]\n')
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheels))


def test_a_pep_723_script_gets_its_environment_on_first_use(base, wheels, command, tmp_path, home, monkeypatch):
    only_from(wheels, home, monkeypatch)
    one, other = (script(tmp_path / name / "my report.py", BLOCK) for name in ("one", "other"))
    for path in (one, other):
        assert command("script", str(path)).stdout == "#!/usr/bin/env -S colab-env run --script\n"
        answer = subprocess.run([path, "-h", "a b"], capture_output=True, text=True)  # its output alone is on stdout
        assert answer.stdout.startswith("1.0 ['-h', 'a b']"), answer.stderr
    (shared,) = envs.list_environments()
    assert shared.name.startswith("script-")
    scripts.write_first_line(one, f"#!{command.path} run --script")
    assert subprocess.run([one], capture_output=True, text=True).stdout == f"1.0 [] {shared.path.resolve()}\n"


@pytest.mark.parametrize("written", [lambda text: text.replace("\n", "\r\n"), lambda text: f"\ufeff{text}"])
def test_a_script_that_windows_has_written_has_its_block(base, tmp_path, written):
    path = tmp_path / "report.py"
    path.write_bytes(written(BLOCK + "print(1)\n").encode())
    found = scripts.recipe(path)
    assert found is not None
    assert found.packages == ("demo==1.0",)


def test_a_directory_is_no_script(base, command, tmp_path):
    answer = subprocess.run([command.path, "run", "--script", "."], capture_output=True, text=True, cwd=tmp_path)
    assert answer.returncode not in (0, 1)
    assert "is a directory" in answer.stderr
    assert "Traceback" not in answer.stderr


def test_a_script_whose_environment_is_there_starts_without_colab_envs_python(
    base, wheels, command, tmp_path, home, monkeypatch
):
    only_from(wheels, home, monkeypatch)
    path = script(tmp_path / "my %d scripts" / "report.py", BLOCK)
    words = ("run", "--script", str(path), "-h", "a b", "")
    first = command(*words)
    assert first.stdout.startswith("1.0 ['-h', 'a b', '']"), first.stderr
    main = command.path.with_name("colab-env-main")
    text = main.read_text()
    main.write_text('#!/bin/sh\necho to Python: "$@"\n')
    assert command(*words).stdout == first.stdout
    assert command(*words[:2], path.name, *words[3:], cwd=path.parent).stdout == first.stdout
    assert command("run", "--keep-pythonpath", "--base", str(base), *words[1:]).stdout == first.stdout
    linked = tmp_path / "linked.py"
    linked.symlink_to(path)
    assert command("run", "--script", str(linked)).stdout == f"to Python: run --script {linked}\n"

    path.with_name("report.py.lock").touch()
    assert command(*words).stdout.startswith("to Python: run --script")
    path.with_name("report.py.lock").unlink()
    assert command(*words).stdout == first.stdout
    before = path.stat()
    path.write_text(path.read_text().replace("demo==1.0", "demo==9.0"))  # of the same size, and its time set back
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert command(*words).stdout.startswith("to Python: run --script")
    main.write_text(text)
    assert "9.0" in command(*words).stderr


SOURCES = """# /// script
# requires-python = ">=3.8"
# dependencies = ["demo"]
# [tool.uv.sources]
# demo = { path = "./ed" }
# ///
import demo
print(demo.version)"""


@pytest.mark.network
def test_a_script_s_own_sources_count_and_nobody_s_namesake_is_installed(
    base, wheels, command, tmp_path, home, monkeypatch
):
    path = script(tmp_path / "report.py", SOURCES)
    (tmp_path / "ed").mkdir()
    project = '[project]\nname = "demo"\nversion = "0.5"\n[build-system]\nrequires = ["hatchling"]\n'
    (tmp_path / "ed/pyproject.toml").write_text(f'{project}build-backend = "hatchling.build"\n')
    (tmp_path / "ed/demo.py").write_text("version = 'mine'\n")
    answer = command("run", "--script", str(path))
    assert answer.stdout == "mine\n", answer.stderr
    assert command("run", "--script", str(path)).stdout == "mine\n"
    (tmp_path / "ed/demo.py").write_text("version = 'mine, changed'\n")
    assert command("run", "--script", str(path)).stdout == "mine, changed\n"
    assert [each.health for each in envs.list_environments()] == [None, None]


def test_settings_of_uv_or_a_lock_make_another_environment_and_need_a_name_that_uv_takes(tmp_path):
    names = {scripts.environment_name(scripts.recipe(script(tmp_path / "x.py", BLOCK)), machine=Machine.detect())}
    (tmp_path / "x.py.lock").write_text("version = 1\n")
    names.add(scripts.environment_name(scripts.recipe(tmp_path / "x.py"), machine=Machine.detect()))
    (tmp_path / "x.py.lock").write_text("version = 2\n")
    names.add(scripts.environment_name(scripts.recipe(tmp_path / "x.py"), machine=Machine.detect()))
    names.add(scripts.environment_name(scripts.recipe(script(tmp_path / "y.py", SOURCES)), machine=Machine.detect()))
    assert len(names) == 4
    with pytest.raises(ScriptError, match=r"ends in \.py"):
        scripts.recipe(script(tmp_path / "report", SOURCES))


def test_a_table_of_another_tool_makes_no_other_environment(tmp_path):
    start, _, end = BLOCK.rpartition("# ///")
    checked = script(tmp_path / "report", f'{start}#\n# [tool.ty.rules]\n# all = "error"\n# ///{end}')
    assert scripts.recipe(checked) == scripts.recipe(script(tmp_path / "x.py", BLOCK))


def test_another_block_is_another_environment(tmp_path):
    names = set()
    for line in ("demo==1.0", "demo==2.0"):
        asked = scripts.recipe(script(tmp_path / "x.py", BLOCK.replace("demo==1.0", line)))
        names.add(scripts.environment_name(asked, machine=Machine.detect()))
    assert len(names) == 2


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("# /// script\n# dependencies = [\n# ///\n", "not TOML"),
        ("# /// script\n# dependencies = [1]\n# ///\n", "another type"),
        (
            '# /// script\n# requires-pythn = ">=3.9"\n# ///\n',
            "`requires-pythn`, which PEP 723 does not know\n.*requires-python",
        ),
        ("# /// script\n# a = 1\n# ///\n\n# /// script\n# a = 1\n# ///\n", "2 blocks"),
        ('# /// script\n# dependencies = ["rich"]\nimport rich\n', "line 1: .* is not closed\n.*`# ///`"),
    ],
)
def test_a_bad_block_is_named(tmp_path, text, reason):
    with pytest.raises(ScriptError, match=reason):
        scripts.recipe(script(tmp_path / "x.py", text))


# cron, flock


def test_a_line_of_cron_with_flock_runs_once_at_a_time(web, command, tmp_path):
    # cron's own environment, and /bin/sh as cron calls it (crontab(5)).
    environ = {"HOME": "/", "LOGNAME": "root", "SHELL": "/bin/sh", "PATH": "/usr/bin:/bin"}
    code = "import time; print(1, flush=True); time.sleep(60)"
    line = f'COLAB_ENV_BASE={web.parent} flock -n {tmp_path}/lock {command.path} run web python -c "{code}"'
    first = subprocess.Popen(
        ["/bin/sh", "-c", line], env=environ, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        assert first.stdout.readline() == "1\n"
        assert subprocess.run(["/bin/sh", "-c", line], env=environ).returncode == 1
    finally:
        os.killpg(first.pid, signal.SIGKILL)
        first.communicate()


# speed


def fastest(*commands: list[str], times: int = 15) -> list[float]:
    """Return the least seconds of processor time of each, which other work on the machine does not change."""

    def seconds(words: list[str]) -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    return [min(seconds(words) for _ in range(times)) for words in commands]


def test_run_costs_a_fraction_of_the_program_s_own_start(web, command):
    program = [str(web / "bin/python"), "-I", "-S", "-c", "pass"]
    direct, run = fastest(program, [str(command.path), "run", "web", "python", *program[1:]])
    assert run < 1.5 * direct


def test_which_is_quicker_than_python_starts(web, command):
    words = [str(command.path), "which", "web", "demo"], [str(web / "bin/python"), "-I", "-c", "pass"]
    which, python = fastest(*words)
    assert which < python


# the installed command


@pytest.mark.machine
@pytest.mark.network
def test_the_wheel_brings_both_programs(tmp_path, base, wheels):
    place = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", place], check=True)
    subprocess.run([place / "bin/pip", "install", "-q", ROOT], check=True)
    installed = Command(place / "bin/colab-env")
    assert installed("env", "create", "web", "demo", "--wheels", str(wheels)).returncode == 0
    assert installed("run", "web", "demo", "-h").stdout == "1.0 -h\n"
    assert installed("--version").stdout.startswith("colab-env ")


def test_a_script_is_known_by_its_first_lines_without_another_program(base, command, tmp_path):
    place = script(tmp_path / "report.py", "# /// script\n# dependencies = []\n# ///\nimport sys; print(sys.prefix)")
    assert command("run", "--script", str(place)).returncode == 0
    time.sleep(1.1)  # some shells see the time to the second
    (note,) = (base / ".scripts").iterdir()
    assert note.read_text().splitlines()[1] == "= 4"
    os.utime(place, (1, 1))
    quiet = {**os.environ, "PATH": "/nonsense"}  # no program is found from here on, and no Python of colab-env's
    command.path.with_name("colab-env-main").write_text("#!/bin/sh\nexit 99\n")
    words = ["/bin/sh", str(command.path), "run", "--script", str(place)]
    done = subprocess.run(words, env=quiet, capture_output=True, text=True)
    assert "/script-" in done.stdout
    for text in ("# /// script\n# dependencies = ['six']\n# ///\nimport sys", "import sys"):
        place.write_text(text)
        os.utime(place, (1, 1))  # an older file, with other lines
        assert subprocess.run(words, env=quiet).returncode == 99
    note.unlink()


def test_the_callers_own_descriptors_reach_a_script(base, command, tmp_path):
    text = "# /// script\n# dependencies = []\n# ///\nimport os; print(os.read(3, 9), os.read(4, 9))"
    place = script(tmp_path / "report.py", text)
    for number in (1, 2):
        (tmp_path / "three").write_text("three")
        (tmp_path / "four").write_text("four")
        words = f"'{command.path}' run --quiet --script '{place}' 3<three 4<four"
        done = subprocess.run(["sh", "-c", words], cwd=tmp_path, capture_output=True, text=True)
        assert done.stdout == "b'three' b'four'\n", number
        time.sleep(1.1)
